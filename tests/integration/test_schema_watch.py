"""The running service's view of its schema, on a real database."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from structlog.testing import capture_logs

from service import metrics
from service.config import Config
from service.database import Database
from service.schema import KINDS, Capabilities, SchemaWatch, catalogue
from stack.postgres import Postgres
from tests.integration.schema_databases import connected, database_at

Execute = Callable[[str], Awaitable[object]]


@pytest.fixture
async def config(postgres: Postgres) -> AsyncIterator[Config]:
    async with database_at(postgres, "head") as migrated:
        yield migrated


@pytest.fixture
async def database(config: Config) -> AsyncIterator[Database]:
    opened = Database(config)
    yield opened
    await opened.close()


@pytest.fixture
def watch(database: Database) -> SchemaWatch:
    metrics.SCHEMA_LAST_CHECK.set(0)
    for kind in KINDS:
        metrics.SCHEMA_DRIFT.labels(kind).set(0)
    return SchemaWatch(database, Capabilities())


@pytest.fixture
async def execute(postgres: Postgres, config: Config) -> AsyncIterator[Execute]:
    async with connected(postgres, config, "superuser") as connection:
        yield connection.execute


def drift_objects() -> dict[str, float]:
    """The gauge as Prometheus would read it, without what is 0."""
    return {
        sample.labels["drift_kind"]: sample.value
        for metric in metrics.SCHEMA_DRIFT.collect()
        for sample in metric.samples
        if sample.value
    }


def last_check_seconds() -> float:
    return next(iter(next(iter(metrics.SCHEMA_LAST_CHECK.collect())).samples)).value


def drift_named() -> set[tuple[str, str]]:
    (family,) = metrics.SCHEMA_DRIFT_INFO.collect()
    return {
        (sample.labels["drift_kind"], sample.labels["drift_object"]) for sample in family.samples
    }


async def test_a_fresh_database_has_no_drift(watch: SchemaWatch) -> None:
    with capture_logs() as lines:
        assert await watch.check()

    assert watch.capabilities == Capabilities(checked=True)
    assert drift_objects() == {}
    assert last_check_seconds() > 0
    (revision,) = next(iter(metrics.SCHEMA_REVISION.collect())).samples
    assert revision.labels["expected"] == revision.labels["actual"] != ""
    assert lines == []


async def test_a_lost_required_column_is_named_and_mended(
    watch: SchemaWatch, execute: Execute
) -> None:
    await watch.check()

    await execute("ALTER TABLE settings DROP COLUMN notifications")
    with capture_logs() as lines:
        await watch.check()
        await watch.check()

    assert watch.capabilities.missing_required == ("column settings.notifications",)
    assert watch.capabilities.ai_models
    assert drift_objects() == {"column": 1}
    assert drift_named() == {("column", "settings.notifications")}
    assert lines == [
        {
            "event": "schema_drift_found",
            "log_level": "error",
            "objects": 1,
            "required": 1,
            "drift": ["column settings.notifications is missing"],
        }
    ]

    await execute("ALTER TABLE settings ADD COLUMN notifications boolean NOT NULL DEFAULT true")
    with capture_logs() as lines:
        await watch.check()

    assert watch.capabilities == Capabilities(checked=True)
    assert drift_objects() == {}
    assert drift_named() == set()
    assert [line["event"] for line in lines] == ["schema_drift_cleared"]


async def test_a_privilege_that_is_taken_away_is_named(
    watch: SchemaWatch, execute: Execute
) -> None:
    await execute("REVOKE SELECT ON settings FROM firedrill_app")
    await watch.check()
    refused = drift_named()
    await execute("GRANT SELECT ON settings TO firedrill_app")

    assert refused == {("privilege", "settings.SELECT")}


async def test_an_object_that_no_statement_needs_is_not_named(
    watch: SchemaWatch, execute: Execute
) -> None:
    await execute("CREATE TABLE unknown_to_the_code (id int)")
    await watch.check()

    assert drift_named() == set()


async def test_a_lost_optional_column_switches_its_capability_off(
    watch: SchemaWatch, execute: Execute
) -> None:
    await execute("ALTER TABLE settings DROP COLUMN ai_models")
    with capture_logs() as lines:
        await watch.check()

    assert watch.capabilities == Capabilities(checked=True, ai_models=False)
    assert drift_objects() == {"column": 1, "index": 1}
    assert [line["log_level"] for line in lines] == ["warning"]


async def test_a_lost_index_makes_slow_and_switches_nothing_off(
    watch: SchemaWatch, execute: Execute
) -> None:
    await execute("DROP INDEX settings_ai_models_idx")
    await watch.check()

    assert watch.capabilities == Capabilities(checked=True)
    assert drift_objects() == {"index": 1}


async def test_nothing_is_compared_while_the_fingerprint_stays(
    watch: SchemaWatch, monkeypatch: pytest.MonkeyPatch, execute: Execute
) -> None:
    compared = 0
    read = catalogue.actual

    async def counted(connection: object) -> catalogue.Catalogue:
        nonlocal compared
        compared += 1
        return await read(connection)  # type: ignore[arg-type]

    monkeypatch.setattr(catalogue, "actual", counted)
    for _ in range(3):
        await watch.check()
    assert compared == 1

    await execute("CREATE TABLE notes (id int)")
    await watch.check()
    assert compared == 2


async def test_a_comparison_that_breaks_is_drift_and_keeps_what_was_known(
    watch: SchemaWatch, execute: Execute
) -> None:
    await execute("ALTER TABLE settings DROP COLUMN ai_models")
    await watch.check()
    metrics.SCHEMA_LAST_CHECK.set(0)

    await execute("REVOKE SELECT ON pg_constraint FROM PUBLIC")
    assert await watch.check()
    assert await watch.check()

    assert drift_objects() == {"column": 1, "index": 1, "comparer_failed": 1}
    assert not watch.capabilities.ai_models
    assert last_check_seconds() == 0

    await execute("GRANT SELECT ON pg_constraint TO PUBLIC")
    await watch.check()
    assert drift_objects() == {"column": 1, "index": 1}
    assert last_check_seconds() > 0


async def test_a_comparison_that_broke_from_the_start_was_no_comparison(
    watch: SchemaWatch, execute: Execute
) -> None:
    await execute("REVOKE SELECT ON pg_constraint FROM PUBLIC")
    await watch.check()

    assert watch.capabilities == Capabilities(checked=False)
    assert drift_objects() == {"comparer_failed": 1}


async def test_a_database_that_cannot_be_asked_is_no_drift(config: Config) -> None:
    metrics.SCHEMA_LAST_CHECK.set(0)
    nowhere = Database(config.model_copy(update={"database_port": 1}))
    watch = SchemaWatch(nowhere, Capabilities())

    assert not await watch.check()

    assert watch.capabilities == Capabilities()
    assert last_check_seconds() == 0
    await nowhere.close()


async def test_a_change_behind_a_locked_table_is_looked_at_later(
    watch: SchemaWatch, execute: Execute
) -> None:
    """Reading a definition waits for its table; a holder of its lock is no drift."""
    await watch.check()
    await execute("CREATE TABLE notes (id int)")
    await execute("BEGIN; LOCK TABLE settings IN ACCESS EXCLUSIVE MODE")

    assert not await watch.check()
    assert drift_objects() == {}

    await execute("ROLLBACK")
    assert await watch.check()
    assert drift_objects() == {"extra": 1}


async def test_a_refused_statement_makes_the_next_check_come_now(
    watch: SchemaWatch, execute: Execute
) -> None:
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(watch.run(interval_seconds=3600))
        while not watch.capabilities.checked:
            await asyncio.sleep(0.01)

        await execute("ALTER TABLE settings DROP COLUMN ai_models")
        watch.hurry()
        while watch.capabilities.ai_models:
            await asyncio.sleep(0.01)
        running.cancel()
