"""The application as wired in production, in this process: real database, real provider simulator.

What goes over HTTP here is httpx's ASGI transport; tests of the server itself start it (`tests/stack`).
"""

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

import asyncpg
import httpx
import pytest

from firedrill_kit.telemetry.export import Tap
from service.app import Service
from service.config import Config
from service.domains.auth.passwords import HASHER
from service.migrations.commands import upgrade
from stack.postgres import Postgres
from stack.provider.app import Settings, serving
from tests.contracts.span_conventions import faults_of

KEY = "k" * 32
PASSWORD = "correct horse battery staple"

Owner: TypeAlias = "asyncpg.Connection[asyncpg.Record]"
"""A second connection, as the schema's owner."""

_numbers = itertools.count(1)


def config_of(
    postgres: Postgres, provider_url: str = "http://127.0.0.1:9", **changes: object
) -> Config:
    """Return the configuration of a service on this database; no spans leave the process."""
    values: dict[str, object] = {
        "database_port": postgres.port,
        "database_password": postgres.passwords["app"],
        "migration_password": postgres.passwords["owner"],
        "provider_url": provider_url,
        "token_keys": {"a": KEY},
        "legacy_token_keys": {"legacy-a": "l" * 32},
        "grant_keys": {"g1": "g" * 32},
        "session_key": "s" * 32,
        "otlp_endpoint": "",
        "trace_base_ratio": 1.0,
        "login_attempts_per_minute": 10_000,
        **changes,
    }
    return Config.model_validate(values)


@pytest.fixture(scope="session")
async def migrated(postgres: Postgres) -> Postgres:
    """The server with the schema at its newest revision."""
    await upgrade(config_of(postgres), say=lambda _line: None)
    return postgres


@pytest.fixture(scope="session")
async def provider_url() -> AsyncIterator[str]:
    async with serving(Settings()) as base_url:
        yield base_url


@pytest.fixture(scope="session")
async def service(migrated: Postgres, provider_url: str) -> AsyncIterator[Service]:
    running = Service(config_of(migrated, provider_url))
    await running.start()
    running.health.phase = "running"
    # What it does at its start is over: its statements are nobody's request.
    while not running.capabilities.checked or running.database.pool.checkedout():
        await asyncio.sleep(0.01)
    yield running
    await running.stop()


@pytest.fixture(autouse=True)
def spans_follow_the_conventions(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Whatever a test makes a service do, its spans have the names and attributes of the conventions."""
    faults: list[str] = []
    monkeypatch.setattr(Tap, "everywhere", [lambda span: faults.extend(faults_of(span))])
    yield
    assert faults == []


@pytest.fixture
async def client(service: Service) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(service.asgi)
    async with httpx.AsyncClient(transport=transport, base_url="http://api.test") as opened:
        yield opened


@pytest.fixture
async def owner(migrated: Postgres) -> AsyncIterator[Owner]:
    """A second connection to the real database, as the schema's owner: what breaks things."""
    connection = await asyncpg.connect(migrated.dsn("owner"))
    yield connection
    await connection.close()


@dataclass(frozen=True)
class Someone:
    """An account and an enhanced token for it."""

    id: int
    email: str
    token: str

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}


NewAccount = Callable[[], Awaitable[Someone]]


@pytest.fixture
def password_hash() -> str:
    """Of PASSWORD, as the service makes it."""
    return HASHER.hash(PASSWORD)


@pytest.fixture
def new_account(service: Service, owner: Owner, password_hash: str) -> NewAccount:
    async def create() -> Someone:
        email = f"someone{next(_numbers)}@example.com"
        account_id = await owner.fetchval(
            "INSERT INTO accounts (email, password_hash) VALUES ($1, $2) RETURNING id",
            email,
            password_hash,
        )
        token = service.security.issuer.enhanced(account_id, email, "user")
        return Someone(account_id, email, token)

    return create


@pytest.fixture
async def someone(new_account: NewAccount) -> Someone:
    return await new_account()
