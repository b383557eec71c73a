"""The callers of the demo that only its own code can make: tokens of both formats, sessions, codes."""

import asyncio
import time
from collections.abc import Iterable, Iterator, Sequence
from itertools import cycle, repeat

import asyncpg
import httpx

from loadtests.traffic.callers import SIGN_INS_AT_ONCE, Callers, Headers
from loadtests.traffic.phases import Due
from loadtests.world.description import DEMO
from loadtests.world.interface import World
from service.security.tokens import TokenIssuer

LEGACY_EVERY = 3
"""Both formats of a token are in use: a third of the callers still have the older one."""


def demo_callers(
    tokens: Sequence[str],
    *,
    browser: Headers,
    leaving: Iterable[Headers] = (),
    codes: Iterable[str] = (),
) -> Callers:
    """tokens: by number of the user; those with an odd number have a calendar. browser: headers of a
    session. leaving: the same, one for each sign-out. codes: of the provider, one for each connection.
    """
    signed_in = [{"Authorization": f"Bearer {token}"} for token in tokens]
    headers: dict[str, Iterable[Headers]] = {
        "account": cycle(signed_in),
        "connected": cycle(signed_in[::2]),
        "connecting": cycle(signed_in[1::2]),
        "session": repeat(browser),
        "leaving": leaving,
    }
    return Callers(DEMO, headers, {"connecting": ({"code": code} for code in codes)})


async def sign_in_demo(world: World, *, api_url: str, dues: Iterable[Due] = ()) -> Callers:
    """Prepare the callers that all of `dues` need. The service must be up.

    Raises httpx.HTTPError when the service does not sign them in.
    """
    config = world.config
    asked = [DEMO.route(due.route).caller for due in dues]
    issuer = TokenIssuer(config, clock=time.time)
    # By number of the user: others, such as the prober, have an account too.
    rows = {row["email"]: row for row in await _accounts(world)}
    accounts = [rows[DEMO.email_of(number)] for number in range(1, DEMO.users + 1)]
    tokens = [
        (issuer.enhanced if number % LEGACY_EVERY else issuer.legacy)(
            row["id"], row["email"], row["role"]
        )
        for number, row in enumerate(accounts)
    ]
    limit = asyncio.Semaphore(SIGN_INS_AT_ONCE)
    async with httpx.AsyncClient(trust_env=False, timeout=30) as http:

        async def session(number: int) -> Headers:
            async with limit:
                return await _session(http, api_url, config.public_origin, number)

        users = range(1, DEMO.users + 1)
        browser, *leaving = await asyncio.gather(
            *map(session, _some(users, asked.count("leaving") + 1))
        )
        codes = [
            await _code(http, world.provider_url, config.provider_redirect_uri, number)
            for number in _some(users[1::2], asked.count("connecting"))
        ]
    return demo_callers(tokens, browser=browser, leaving=leaving, codes=codes)


async def older_tokens(world: World) -> dict[str, str]:
    """Tokens of the older format by e-mail address: no sign-in gives them any more."""
    issuer = TokenIssuer(world.config, clock=time.time)
    return {
        row["email"]: issuer.legacy(row["id"], row["email"], row["role"])
        for row in await _accounts(world)
    }


async def _accounts(world: World) -> Sequence[asyncpg.Record]:
    owner = await asyncpg.connect(world.dsn("owner"), timeout=10)
    try:
        rows: Sequence[asyncpg.Record] = await owner.fetch(DEMO.accounts)
    finally:
        await owner.close()
    return rows


def _some(users: Sequence[int], count: int) -> Iterator[int]:
    """So many numbers of users, over and over."""
    return (number for number, _ in zip(cycle(users), range(count), strict=False))


async def _session(http: httpx.AsyncClient, api_url: str, origin: str, number: int) -> Headers:
    """Headers of a browser's request that changes something."""
    answer = await http.post(f"{api_url}/api/v1/auth/token", data=DEMO.sign_in_body(number))
    answer.raise_for_status()
    session = _cookie(answer)
    headers = {"Cookie": session, "Origin": origin}
    http.cookies.clear()
    answer = await http.get(f"{api_url}/api/v1/auth/csrf", headers=headers)
    answer.raise_for_status()
    http.cookies.clear()
    return headers | {
        "Cookie": f"{session}; {_cookie(answer)}",
        "X-CSRF-Token": answer.json()["csrf_token"],
    }


def _cookie(answer: httpx.Response) -> str:
    return answer.headers["set-cookie"].partition(";")[0]


async def _code(http: httpx.AsyncClient, provider_url: str, redirect_uri: str, number: int) -> str:
    consent = {
        "user": f"user{number:02}",
        "authorization_code": True,
        "redirect_uri": redirect_uri,
    }
    answer = await http.post(f"{provider_url}/_grants", json=consent)
    answer.raise_for_status()
    code: str = answer.json()["authorization_code"]
    return code
