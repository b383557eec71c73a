"""Who sends the load: the demo users, signed in before the clock starts, and what they send."""

import asyncio
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import cycle
from typing import Protocol

import asyncpg
import httpx

from loadtests.world.description import DEMO
from service.config import Config
from service.security.tokens import TokenIssuer
from stack.demo import USERS, email_of, password_of

SIGN_INS_AT_ONCE = 4
"""As many as the service admits."""
VERSIONS = DEMO.versions
"""As real callers name themselves; a third of the requests each."""


class Deadlines(Protocol):
    """Seconds in which the contract promises an answer; the service's configuration has them."""

    @property
    def read_deadline_seconds(self) -> float: ...
    @property
    def write_deadline_seconds(self) -> float: ...
    @property
    def login_deadline_seconds(self) -> float: ...
    @property
    def calendar_deadline_seconds(self) -> float: ...


@dataclass(frozen=True)
class Request:
    """One request to send. route: `METHOD template`, as it is reported. deadline_seconds: the
    contract's, which the service must keep.
    """

    route: str
    path: str
    deadline_seconds: float
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    json: object = None
    form: Mapping[str, str] | None = field(default=None, repr=False)

    @property
    def method(self) -> str:
        return self.route.partition(" ")[0]


@dataclass(frozen=True)
class SignedIn:
    """A browser's session: the headers of a request that changes something."""

    headers: Mapping[str, str] = field(repr=False)


class Callers:
    """Makes the requests of every route, going round the callers."""

    def __init__(
        self,
        tokens: list[str],
        *,
        browser: SignedIn,
        leaving: list[SignedIn],
        codes: list[str],
        config: Deadlines,
    ) -> None:
        """tokens: by number of the user; those with an odd number have a calendar. leaving: sessions,
        one for each sign-out. codes: of the provider, one for each connection.
        """
        self._headers = [{"Authorization": f"Bearer {token}"} for token in tokens]
        self._all = cycle(range(len(tokens)))
        self._connected = cycle(range(0, len(tokens), 2))
        self._connecting = cycle(range(1, len(tokens), 2))
        self._signing_in = cycle(range(1, USERS + 1))
        self._browser = browser
        self._leaving = iter(leaving)
        self._codes = iter(codes)
        self._config = config

    def request(self, route: str) -> Request:
        """Return the next request of this route."""
        path = route.partition(" ")[2]
        config = self._config
        read, write = config.read_deadline_seconds, config.write_deadline_seconds
        if route == "GET /problems/{code}":
            request = Request(route, "/problems/not_found", read)
        elif route == "POST /api/v1/auth/token":
            number = next(self._signing_in)
            form = {"username": email_of(number), "password": password_of(number)}
            request = Request(route, path, config.login_deadline_seconds, form=form)
        elif route == "GET /api/v1/auth/csrf":
            request = Request(route, path, read, self._browser.headers)
        elif route == "POST /api/v1/auth/logout":
            request = Request(route, path, write, next(self._leaving).headers)
        elif route == "POST /api/v1/calendar/sync/auto":
            headers = self._headers[next(self._connected)]
            request = Request(route, path, config.calendar_deadline_seconds, headers)
        elif route == "PUT /api/v1/calendar/connection":
            headers = self._headers[next(self._connecting)]
            request = Request(route, path, write, headers, json={"code": next(self._codes)})
        else:
            headers = self._headers[next(self._all)]
            body = DEMO.route(route).body
            request = Request(route, path, read if body is None else write, headers, json=body)
        return request


async def sign_in(
    config: Config,
    *,
    owner: "asyncpg.Connection[asyncpg.Record]",
    api_url: str,
    provider_url: str,
    sign_outs: int,
    connections: int,
) -> Callers:
    """Prepare callers for so many sign-outs and new connections. The service must be up.

    Raises httpx.HTTPError when the service does not sign them in.
    """
    rows = await owner.fetch("SELECT id, email, role::text FROM accounts ORDER BY email")
    issuer = TokenIssuer(config, clock=time.time)
    tokens = [
        # Both formats are in use: a third of the callers still have the legacy one.
        (issuer.legacy if number % 3 == 0 else issuer.enhanced)(
            row["id"], row["email"], row["role"]
        )
        for number, row in enumerate(rows)
    ]
    limit = asyncio.Semaphore(SIGN_INS_AT_ONCE)
    async with httpx.AsyncClient(trust_env=False, timeout=30) as http:

        async def browser(number: int) -> SignedIn:
            async with limit:
                return await _session(http, api_url, config.public_origin, number)

        numbers: Iterator[int] = cycle(range(1, USERS + 1))
        browsers = await asyncio.gather(
            *(browser(number) for _, number in zip(range(sign_outs + 1), numbers, strict=False))
        )
        codes = [
            await _code(http, provider_url, config.provider_redirect_uri, number)
            for _, number in zip(range(connections), cycle(range(2, USERS + 1, 2)), strict=False)
        ]
    return Callers(tokens, browser=browsers[0], leaving=browsers[1:], codes=codes, config=config)


async def older_tokens(
    owner: "asyncpg.Connection[asyncpg.Record]", config: Config
) -> dict[str, str]:
    """Tokens of the older format by e-mail address: no sign-in gives them any more."""
    issuer = TokenIssuer(config, clock=time.time)
    rows = await owner.fetch("SELECT id, email, role::text FROM accounts")
    return {row["email"]: issuer.legacy(row["id"], row["email"], row["role"]) for row in rows}


async def _session(http: httpx.AsyncClient, api_url: str, origin: str, number: int) -> SignedIn:
    form = {"username": email_of(number), "password": password_of(number)}
    answer = await http.post(f"{api_url}/api/v1/auth/token", data=form)
    answer.raise_for_status()
    session = _cookie(answer)
    headers = {"Cookie": session, "Origin": origin}
    http.cookies.clear()
    answer = await http.get(f"{api_url}/api/v1/auth/csrf", headers=headers)
    answer.raise_for_status()
    http.cookies.clear()
    headers["Cookie"] = f"{session}; {_cookie(answer)}"
    headers["X-CSRF-Token"] = answer.json()["csrf_token"]
    return SignedIn(headers)


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
