"""Accounts with a Google grant, and the simulator that plays Google and judges what it was asked."""

import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import asyncpg
import httpx
import pytest

from service.app import Service
from service.domains.calendar.grants import Grants
from service.upstream import CalendarProvider, open_http
from tests.integration.conftest import NewAccount, Someone

Owner: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

_numbers = itertools.count(1)


class Google:
    """The simulator: how it behaves, what it has seen."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http

    async def mint(self, **wanted: object) -> dict[str, Any]:
        return await self._post("/_grants", wanted)

    async def behave(self, **control: object) -> None:
        await self._post("/_control", control)

    async def expire(self, grant: str) -> None:
        await self._post("/_expire", {"grant": grant})

    async def change_events(self, grant: str, **changes: object) -> None:
        await self._post("/_events", {"grant": grant, **changes})

    async def reset(self) -> None:
        await self._post("/_control", {"reset": True})
        await self._post("/_judge/reset", {})

    async def verdict(self, grant: str | None = None) -> dict[str, Any]:
        """What the judge says of one grant, or of all together."""
        answer = (await self._http.get("/_judge")).json()
        verdict: dict[str, Any] = answer["totals"] if grant is None else answer["grants"][grant]
        return verdict

    async def _post(self, path: str, content: object) -> dict[str, Any]:
        answer = await self._http.post(path, json=content)
        assert answer.is_success, answer.text
        body: dict[str, Any] = answer.json()
        return body


@pytest.fixture
async def google(provider_url: str) -> AsyncIterator[Google]:
    # A connection each: the server closes one that was idle for 5 s, which is what a slow sync takes.
    limits = httpx.Limits(max_keepalive_connections=0)
    async with httpx.AsyncClient(base_url=provider_url, timeout=20, limits=limits) as http:
        simulator = Google(http)
        await simulator.reset()
        yield simulator
        await simulator.reset()


@pytest.fixture
async def upstream(service: Service) -> AsyncIterator[CalendarProvider]:
    """A provider's client with a breaker of its own, used by the application for one test."""
    async with open_http(service.config) as http:
        provider = CalendarProvider(http, service.config)
        grants = Grants(service.database, provider, service.config)
        with pytest.MonkeyPatch.context() as patch:
            patch.setitem(service.app.state.provided, CalendarProvider, provider)
            patch.setitem(service.app.state.provided, Grants, grants)
            yield provider
            await grants.close()


@pytest.fixture
def new_account(service: Service, owner: Owner) -> NewAccount:
    """As everywhere, but without a password: nobody signs in here, and a hash takes 0.2 s."""

    async def create() -> Someone:
        email = f"calendar{next(_numbers)}@example.com"
        account_id = await owner.fetchval(
            "INSERT INTO accounts (email, password_hash) VALUES ($1, '') RETURNING id", email
        )
        token = service.security.issuer.enhanced(account_id, email, "user")
        return Someone(account_id, email, token)

    return create


@dataclass(frozen=True)
class Connected:
    """An account and its grant at Google."""

    someone: Someone
    grant: str
    refresh_token: str

    @property
    def headers(self) -> dict[str, str]:
        return self.someone.headers

    @property
    def account_id(self) -> int:
        return self.someone.id


Connect = Callable[..., Awaitable[Connected]]


@pytest.fixture
def connect(
    service: Service,
    google: Google,
    new_account: NewAccount,
    owner: Owner,
    upstream: CalendarProvider,
) -> Connect:
    """Make accounts with a grant. expires_in_seconds: of the access token, by the database's clock."""

    async def create(*, expires_in_seconds: int = 3600, **wanted: object) -> Connected:
        someone = await new_account()
        minted = await google.mint(**wanted)
        vault = service.grants.vault
        sealed = [
            vault.seal(minted[name], account_id=someone.id)
            for name in ("access_token", "refresh_token")
        ]
        await owner.execute(
            "INSERT INTO oauth_grants (account_id, provider, scope, access_token_enc,"
            " refresh_token_enc, expires_at)"
            " VALUES ($1, 'google', $2, $3, $4, now() + make_interval(secs => $5))",
            someone.id,
            minted["scope"],
            *sealed,
            expires_in_seconds,
        )
        return Connected(someone, minted["grant"], minted["refresh_token"])

    return create


@pytest.fixture
async def connected(connect: Connect) -> Connected:
    return await connect()


@pytest.fixture
async def expired(connect: Connect) -> Connected:
    return await connect(expires_in_seconds=-1)
