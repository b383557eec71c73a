"""Faults of clients: a broken release. They end with the process that sends it."""

import time
from collections.abc import Mapping

from joserfc import jwt
from joserfc.jwk import OctKey

from loadtests.faults.fault import Fault
from loadtests.world.description import DEMO, Release
from loadtests.world.interface import World
from service.security.tokens import ALGORITHM


def alter(
    what: str, bodies: Mapping[str, object], *, versions: frozenset[str] | None = None
) -> Fault:
    """Let callers send what a broken release would. bodies: by route. versions: None: all."""

    async def cause(world: World) -> None:
        world.release = Release(bodies=bodies, versions=versions)

    return Fault(what, cause)


def contradicting_tokens(version: str) -> Fault:
    """Callers of one version show tokens that name two accounts: the id of one, the address of another."""

    async def cause(world: World) -> None:
        config = world.config
        kid, key = next(iter(config.token_keys.items()))
        now = int(time.time())
        claims = {
            "sub": "1",
            "email": DEMO.email_of(1),
            "id": 2,
            "role": "user",
            "iss": config.token_issuer,
            "aud": config.token_audience,
            "iat": now,
            "exp": now + config.token_lifetime_seconds,
        }
        signing = OctKey.import_key(key.get_secret_value())
        token = jwt.encode({"alg": ALGORITHM, "kid": kid}, claims, signing, algorithms=[ALGORITHM])
        headers = {"Authorization": f"Bearer {token}"}
        world.release = Release(headers=headers, versions=frozenset({version}))

    return Fault(f"the tokens of {version} name two accounts", cause)
