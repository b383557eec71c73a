"""Who sends the load: the accounts of a firedrill.toml, signed in before the clock starts."""

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import cycle, repeat
from typing import Any

import httpx

from firedrill_kit.config import filled
from firedrill_kit.config.traffic import ANYBODY, SIGNING_IN
from loadtests.world.description import Description, RefusedError, Release
from stack.prober.asked import asked_of

SIGN_INS_AT_ONCE = 4
"""As many as the demo admits; a password is hashed slowly on purpose."""
SIGN_IN_SECONDS = 30.0

Headers = Mapping[str, str]


@dataclass(frozen=True)
class Request:
    """One request to send. route: `METHOD template`, as it is reported. version: of the client.

    deadline_seconds: within which the contract promises an answer.
    """

    route: str
    path: str
    deadline_seconds: float
    version: str = ""
    headers: Headers = field(default_factory=dict, repr=False)
    json: object = None
    form: Mapping[str, str] | None = field(default=None, repr=False)

    @property
    def method(self) -> str:
        return self.route.partition(" ")[0]


class Callers:
    """Makes the requests of every route, going round the callers and the versions of the client."""

    def __init__(
        self,
        service: Description,
        headers: Mapping[str, Iterable[Headers]],
        bodies: Mapping[str, Iterable[object]] | None = None,
    ) -> None:
        """headers: by kind of caller, those of each request in turn. bodies: likewise, of the kinds that send
        something of their own. Raises MissingVariableError.
        """
        self._service = service
        self._headers: Mapping[str, Iterator[Headers]] = {
            **{kind: iter(one) for kind, one in headers.items()},
            ANYBODY: repeat({}),
            SIGNING_IN: repeat({}),
        }
        self._bodies = {kind: iter(one) for kind, one in (bodies or {}).items()}
        self._sent = {
            name: filled(route.body, service.environment) for name, route in service.routes.items()
        }
        self._versions = cycle(service.versions or ("",))
        self._numbers = cycle(range(1, service.users + 1))

    def request(self, route: str, release: Release | None = None) -> Request:
        """Return the next request of this route. release: what a broken one sends in its place."""
        described = self._service.route(route)
        version = next(self._versions)
        headers = dict(next(self._headers[described.caller]))
        if version:
            headers["X-Client-Version"] = f"{version}.0"
        body, form = self._sent.get(route), None
        if described.caller in self._bodies:
            body = next(self._bodies[described.caller])
        elif described.caller == SIGNING_IN or route == self._service.sign_in_route:
            body = self._service.sign_in_body(next(self._numbers))
        if release is not None and release.is_of(version):
            body = release.bodies.get(route, body)
            headers |= release.headers if "Authorization" in headers else {}
        if self._service.sends_form(route) and isinstance(body, dict):
            body, form = None, body
        return Request(
            route, described.path, described.deadline_seconds, version, headers, body, form
        )


async def sign_in(service: Description, *, api_url: str) -> list[Headers]:
    """Sign the accounts in; returns the headers of each, by number.

    Raises RefusedError when the service does not sign them in, httpx.HTTPError when it does not answer,
    MissingVariableError.
    """
    client = service.service.client
    if client is None:
        return []
    asked = asked_of(service.service, service.environment)
    route = service.sign_in_route
    if not route:
        return [asked.headers("")]
    method, path = route.partition(" ")[0], service.route(route).path
    limit = asyncio.Semaphore(SIGN_INS_AT_ONCE)
    async with httpx.AsyncClient(trust_env=False, timeout=SIGN_IN_SECONDS) as http:

        async def one(number: int) -> Headers:
            body: Any = service.sign_in_body(number)
            form, json = (body, None) if service.sends_form(route) else (None, body)
            async with limit:
                answer = await http.request(method, f"{api_url}{path}", data=form, json=json)
            if not answer.is_success:
                raise RefusedError(
                    f"client.sign_in: account {number} got {answer.status_code} of {route}; correct"
                    " form or json there, load.credentials, or the variables they name"
                )
            try:
                return asked.headers(asked.token_of(answer.json()))
            except (ValueError, LookupError, TypeError):
                raise RefusedError(
                    f"client.token: the answer of {route} has no text there; write the key of its"
                    " token, with dots between"
                ) from None

        return list(await asyncio.gather(*map(one, range(1, service.users + 1))))
