"""The kit on an application of somebody else's with an asynchronous engine and a real PostgreSQL."""

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

import firedrill_kit
from firedrill_kit import metrics
from stack.postgres import Postgres
from tests.integration.conftest import Owner
from tests.signals import Samples
from tests.unit.kit.conftest import alone

__all__ = ["alone"]

HELD = "db_client_connection_held"
POOL = {"db_client_connection_pool_name": "async"}


def engine_of(dsn: str) -> AsyncEngine:
    url = dsn.replace("postgresql://", "postgresql+asyncpg://")
    return create_async_engine(url, pool_size=1, max_overflow=1, pool_timeout=0.2)


@pytest.fixture(autouse=True)
def described_by_no_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """The repository's own file describes the demo."""
    monkeypatch.setenv("FIREDRILL_CONFIG", "")


@pytest.fixture
async def engine(migrated: Postgres) -> AsyncIterator[AsyncEngine]:
    found = engine_of(migrated.dsn("owner"))
    yield found
    await found.dispose()


@pytest.fixture
async def client(engine: AsyncEngine) -> AsyncIterator[httpx.AsyncClient]:
    app = FastAPI(title="Foreign")

    @app.get("/run")
    async def run(sql: str) -> str:
        async with engine.begin() as connection:
            return str((await connection.execute(text(sql))).scalar())

    firedrill_kit.instrument(app, engine={"async": engine}, metrics_port=0, logs="off")
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://a.test") as opened:
        yield opened


async def test_a_statement_is_a_sample_and_a_transaction(client: httpx.AsyncClient) -> None:
    before = Samples()

    answer = await client.get("/run", params={"sql": "SELECT count(*) FROM accounts"})

    assert answer.status_code == 200
    statements = "db_client_operation_duration_seconds_count"
    labels = {"db_system_name": "postgresql", "db_collection_name": "accounts"}
    assert before.grown(statements, error_type="", **labels) == 1
    assert before.grown("db_client_connection_wait_time_seconds_count", **POOL) == 1
    assert before.grown("db_client_connection_use_time_seconds_count", http_route="/run") == 1


@pytest.mark.parametrize(
    ("sql", "code", "error_type"),
    [
        ("SELECT * FROM nowhere", "schema_mismatch", "undefined"),
        ("SELECT 1/0", "constraint_violation", "data"),
        ("SELECT pg_terminate_backend(pg_backend_pid())", "db_connection_lost", "disconnect"),
        ("SELECT pg_cancel_backend(pg_backend_pid())", "db_timeout", "statement_timeout"),
    ],
)
async def test_a_failure_is_called_by_what_the_database_said(
    client: httpx.AsyncClient, sql: str, code: str, error_type: str
) -> None:
    before = Samples()

    answer = await client.get("/run", params={"sql": sql})

    assert answer.status_code == 500
    assert before.grown("app_failures_total", code=code, http_route="/run") == 1
    assert before.grown("app_failures_total") == 1
    assert before.grown("db_client_operation_duration_seconds_count", error_type=error_type) >= 1


async def test_a_locked_table_names_who_holds_the_pool(
    client: httpx.AsyncClient, owner: Owner
) -> None:
    before = Samples()
    locked = {"sql": "SELECT count(*) FROM profiles"}
    labels = {**POOL, "http_route": "/run"}

    async with owner.transaction():
        await owner.execute("LOCK TABLE profiles IN ACCESS EXCLUSIVE MODE")
        waiting = [asyncio.create_task(client.get("/run", params=locked)) for _ in range(2)]
        while metrics.REGISTRY.get_sample_value(HELD, labels) != 2:
            await asyncio.sleep(0.01)
        refused = await client.get("/run", params={"sql": "SELECT 1"})
    answers = await asyncio.gather(*waiting)

    assert [answer.status_code for answer in (refused, *answers)] == [500, 200, 200]
    assert before.grown("app_failures_total", code="db_pool_exhausted", http_route="/run") == 1
    assert before.grown("db_client_connection_timeouts_total", **POOL) == 1
    assert metrics.REGISTRY.get_sample_value(HELD, labels) == 0


async def test_a_database_that_is_away_is_unavailable(migrated: Postgres) -> None:
    engine = engine_of(migrated.dsn("owner").replace(f":{migrated.port}/", ":9/"))
    app = FastAPI()

    @app.get("/ping")
    async def ping() -> None:
        async with engine.connect():
            pass

    firedrill_kit.instrument(app, engine={"async": engine}, metrics_port=0, logs="off")
    before = Samples()

    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://a.test") as client:
        answer = await client.get("/ping")

    assert answer.status_code == 500
    assert before.grown("app_failures_total", code="db_unavailable") == 1
    assert before.grown("db_connect_failures_total", reason="refused") == 1
