"""One client span per statement, with the real driver and a real server."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanKind, StatusCode
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from firedrill_kit.telemetry.check import verify_statement
from firedrill_kit.telemetry.redaction import redact
from firedrill_kit.telemetry.traces import span
from stack.postgres import Postgres
from tests.unit.telemetry.instruments import Telemetry, attributes_of, telemetry


@pytest.fixture(autouse=True, params=["fast", "contrib"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("TELEMETRY_INSTRUMENTATION", request.param)
    return str(request.param)


@pytest.fixture
async def seen(way: str) -> AsyncIterator[Telemetry]:
    with telemetry() as running:
        yield running


@pytest.fixture
async def engine(postgres: Postgres, seen: Telemetry) -> AsyncIterator[AsyncEngine]:
    url = postgres.dsn("owner").replace("postgresql://", "postgresql+asyncpg://")
    made = create_async_engine(
        url, pool_size=1, max_overflow=0, pool_pre_ping=True, hide_parameters=True
    )
    assert seen.tracing.instrument_engine(made.sync_engine) is not None
    yield made
    await made.dispose()


async def connected(engine: AsyncEngine, seen: Telemetry) -> None:
    """The dialect asks for the version on its first connection: not ours to count."""
    async with engine.connect():
        pass
    seen.ended.clear()


def statements(seen: Telemetry) -> list[ReadableSpan]:
    """Spans of statements; a service of the session may leave others meanwhile, such as of a connect."""
    clients = [span for span in seen.ended if span.kind is SpanKind.CLIENT]
    return [span for span in clients if "db.query.text" in (span.attributes or {})]


async def test_a_statement_leaves_one_client_span_and_nothing_else_does(
    engine: AsyncEngine, seen: Telemetry
) -> None:
    await connected(engine, seen)

    for _ in range(3):
        async with engine.begin() as connection:  # pool_pre_ping, BEGIN, COMMIT: no spans
            await connection.execute(text("SELECT CAST(:secret AS text)"), {"secret": "s3cr3t"})

    statement, *others = statements(seen)
    attributes = attributes_of(statement)
    assert len(others) == 2
    assert statement.name == "SELECT"
    assert attributes["db.system.name"] == "postgresql"
    assert attributes["db.operation.name"] == "SELECT"
    assert attributes["db.query.text"].startswith("SELECT CAST($1")
    assert "s3cr3t" not in statement.to_json()
    left = attributes_of(redact(statement))
    assert "db.user" not in left
    assert left["db.namespace"]
    assert (left["server.address"], left["server.port"]) == (engine.url.host, engine.url.port)


async def test_statements_are_children_of_the_span_around_them(
    engine: AsyncEngine, seen: Telemetry
) -> None:
    await connected(engine, seen)

    with span("calendar.sync") as parent:
        async with engine.begin() as connection:
            await connection.execute(text("SELECT 1"))
            await connection.execute(text("SELECT 2"))

    first, second = statements(seen)
    parents = {item.parent.span_id for item in (first, second) if item.parent is not None}
    assert parents == {parent.get_span_context().span_id}


async def test_an_error_is_named_by_its_sqlstate_and_not_quoted(
    engine: AsyncEngine, seen: Telemetry
) -> None:
    await connected(engine, seen)

    insert = text("INSERT INTO t VALUES (:email)")
    async with engine.connect() as connection:
        await connection.execute(text("CREATE TEMPORARY TABLE t (email text UNIQUE)"))
        await connection.execute(insert, {"email": "s3cr3t@example.org"})
        with pytest.raises(DBAPIError):
            await connection.execute(insert, {"email": "s3cr3t@example.org"})

    failed = redact(statements(seen)[-1])
    attributes = attributes_of(failed)
    assert [item.name for item in statements(seen)] == ["CREATE", "INSERT t", "INSERT t"]
    assert attributes["db.query.summary"] == failed.name
    assert (attributes["db.operation.name"], attributes["db.collection.name"]) == ("INSERT", "t")
    assert failed.status.status_code is StatusCode.ERROR
    assert failed.status.description is None
    assert attributes["error.type"] == attributes["db.response.status_code"] == "23505"
    assert "s3cr3t" not in failed.to_json()


async def test_a_statement_that_is_cancelled_or_timed_out_still_ends_its_span(
    engine: AsyncEngine, seen: Telemetry
) -> None:
    await connected(engine, seen)

    async def sleep() -> Any:
        async with engine.begin() as connection:
            await connection.execute(text("SET LOCAL statement_timeout = 50"))
            return await connection.execute(text("SELECT pg_sleep(30)"))

    async def sleep_long() -> Any:
        async with engine.begin() as connection:
            return await connection.execute(text("SELECT pg_sleep(30)"))

    with pytest.raises(DBAPIError):
        await sleep()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await sleep_long()

    _setting, timed_out, cancelled = statements(seen)
    assert attributes_of(timed_out)["error.type"] == "57014"
    assert attributes_of(cancelled)["error.type"] == "CancelledError"


async def test_two_engines_of_one_process_leave_one_span_each(
    engine: AsyncEngine, seen: Telemetry, postgres: Postgres
) -> None:
    """The package's instrumentor instruments only the first and answers the second with silence."""
    url = postgres.dsn("owner").replace("postgresql://", "postgresql+asyncpg://")
    other = create_async_engine(url)
    seen.tracing.instrument_engine(other.sync_engine)
    await connected(engine, seen)
    await connected(other, seen)

    for used in (engine, other):
        async with used.connect() as connection:
            await connection.execute(text("SELECT 1"))
    await other.dispose()

    assert [item.name for item in statements(seen)] == ["SELECT", "SELECT"]


async def test_the_statement_check_holds_with_the_real_driver(
    engine: AsyncEngine, seen: Telemetry
) -> None:
    await connected(engine, seen)

    async def execute() -> None:
        async with engine.connect() as connection:
            await connection.execute(text("SELECT 1"))

    assert await verify_statement(seen.tracing, execute) == []
