"""Every row of the driver table, provoked in a real database."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

import asyncpg
import pytest
from sqlalchemy import text
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession

from firedrill_kit import metrics as core_metrics
from firedrill_kit.driver_errors import connect_failure
from service import failures, metrics
from service.config import Config
from service.database import UNPINGED_SECONDS, Database
from service.failures import Failure, Mode
from stack.postgres import Postgres
from stack.proxy import FaultProxy
from tests.integration.conftest import Owner

TABLES = """
DROP TABLE IF EXISTS child, parent;
DROP TYPE IF EXISTS mood;
CREATE TYPE mood AS ENUM ('good', 'bad');
CREATE TABLE parent (id int PRIMARY KEY, n int NOT NULL CHECK (n > 0), m mood);
CREATE TABLE child (id int PRIMARY KEY, parent_id int REFERENCES parent DEFERRABLE INITIALLY IMMEDIATE);
INSERT INTO parent VALUES (1, 1, 'good'), (2, 1, 'good');
GRANT USAGE ON SCHEMA public TO firedrill_app;
GRANT ALL ON parent, child TO firedrill_app;
"""


def config_for(postgres: Postgres, **changes: object) -> Config:
    values = {
        "database_port": postgres.port,
        "database_password": postgres.passwords["app"],
        "pool_size": 2,
        **changes,
    }
    return Config.model_validate(values)


@pytest.fixture
async def owner(postgres: Postgres) -> AsyncIterator[Owner]:
    connection = await asyncpg.connect(postgres.dsn("owner"))
    await connection.execute(TABLES)
    yield connection
    await connection.close()


@pytest.fixture
async def database(postgres: Postgres, owner: object) -> AsyncIterator[Database]:
    opened = Database(config_for(postgres))
    yield opened
    await opened.close()


def statement(sql: str) -> Callable[[AsyncSession], Awaitable[object]]:
    async def operation(session: AsyncSession) -> object:
        return (
            (await session.execute(text(sql))).all()
            if sql.startswith("SELECT")
            else await session.execute(text(sql))
        )

    return operation


def count(counter: object, *labels: str) -> float:
    return counter.labels(*labels)._value.get()  # type: ignore[attr-defined, no-any-return]


@pytest.mark.parametrize(
    ("sql", "mode", "cause"),
    [
        ("SELECT pg_sleep(5)", failures.DB_TIMEOUT, "statement_timeout"),
        ("INSERT INTO parent VALUES (1, 1)", failures.CONSTRAINT_VIOLATION, "unique"),
        ("INSERT INTO parent VALUES (3, NULL)", failures.CONSTRAINT_VIOLATION, "not_null"),
        ("INSERT INTO parent VALUES (3, 0)", failures.CONSTRAINT_VIOLATION, "check"),
        ("INSERT INTO child VALUES (1, 99)", failures.REFERENCE_MISSING, "fk"),
        ("SELECT absent FROM parent", failures.SCHEMA_MISMATCH, "undefined"),
        ("SELECT * FROM absent", failures.SCHEMA_MISMATCH, "undefined"),
        ("SELECT absent()", failures.SCHEMA_MISMATCH, "undefined"),
        ("SELECT 'ugly'::mood", failures.SCHEMA_MISMATCH, "enum"),
        ("SELECT 2147483648::int", failures.CONSTRAINT_VIOLATION, "data"),
        ("SELECT 1/0", failures.CONSTRAINT_VIOLATION, "data"),
        ("CREATE TABLE forbidden (id int)", failures.SCHEMA_MISMATCH, "privilege"),
        ("DO $$ BEGIN RAISE EXCEPTION 'x'; END $$", failures.CONSTRAINT_VIOLATION, "data"),
        ("DO $$ BEGIN RAISE SQLSTATE '53100'; END $$", failures.DB_UNAVAILABLE, "other"),
        ("DO $$ BEGIN RAISE SQLSTATE 'XX000'; END $$", failures.INTERNAL_ERROR, "other"),
    ],
)
async def test_a_statement_that_fails_has_a_name(
    database: Database, sql: str, mode: Mode, cause: str
) -> None:
    with pytest.raises(Failure) as caught:
        await database.run(statement(sql))

    assert (caught.value.mode, caught.value.cause) == (mode, cause)
    assert database.pool.checkedout() == 0


@pytest.mark.parametrize(
    ("sql", "named"),
    [
        ("SELECT absent FROM parent", "absent"),
        ("SELECT p.absent FROM parent p", "p.absent"),
        ("INSERT INTO parent (absent) VALUES (1)", "parent.absent"),
        ("SELECT * FROM absent", "absent"),
        ("SELECT * FROM nowhere.absent", "nowhere.absent"),
        ("SELECT NULL::absent", "absent"),
        ("CREATE TABLE forbidden (id int)", "public"),
        ("SELECT rolpassword FROM pg_authid", "pg_authid"),
        ("SELECT 'ugly'::mood", None),
        ("SELECT absent('a value')", None),
        ("SELECT 'a value'::text + 1", None),
    ],
)
async def test_what_is_missing_or_refused_is_named_and_no_value_is(
    database: Database, sql: str, named: str | None
) -> None:
    with pytest.raises(Failure) as caught:
        await database.run(statement(sql))

    assert caught.value.log.get("object") == named
    assert "a value" not in str(caught.value.log)


async def test_a_locked_row_is_given_up_before_the_statement_times_out(
    database: Database, owner: Owner
) -> None:
    async with owner.transaction():
        await owner.execute("SELECT * FROM parent WHERE id = 1 FOR UPDATE")

        with pytest.raises(Failure) as caught:
            await database.run(statement("UPDATE parent SET n = 2 WHERE id = 1"))

    assert caught.value.mode is failures.DB_LOCK_TIMEOUT


async def test_a_poisoned_transaction_is_our_own_mistake(database: Database) -> None:
    async def operation(session: AsyncSession) -> None:
        with contextlib.suppress(DBAPIError):  # the mistake
            await session.execute(text("SELECT 1/0"))
        await session.execute(text("SELECT 1"))

    with pytest.raises(Failure) as caught:
        await database.run(operation)

    assert (caught.value.mode, caught.value.cause) == (failures.INTERNAL_ERROR, "in_failed_tx")


@pytest.mark.parametrize("sql", ["SELECT * FROM pg_authid", "SELECT absent FROM parent"])
async def test_what_an_optional_read_lacks_is_no_failure_and_breaks_nothing(
    database: Database, sql: str
) -> None:
    assert await database.read_optional(text(sql)) is None

    assert (await database.read(text("SELECT 1")))[0][0] == 1
    with pytest.raises(Failure) as caught:
        await database.read_optional(text("SELECT 1/0"))
    assert caught.value.mode is failures.CONSTRAINT_VIOLATION


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (asyncpg.InvalidPasswordError, "auth"),
        (asyncpg.InvalidAuthorizationSpecificationError, "auth"),
        (asyncpg.InsufficientPrivilegeError, "auth"),  # CONNECT was revoked
        (asyncpg.TooManyConnectionsError, "too_many"),
        (asyncpg.CannotConnectNowError, "starting"),
        (asyncpg.InvalidCatalogNameError, "other"),
    ],
)
def test_why_a_connection_could_not_be_opened(
    error: type[asyncpg.PostgresError], reason: str
) -> None:
    assert connect_failure(error("no")).reason == reason


async def test_a_constraint_that_fails_at_commit_is_never_a_success(database: Database) -> None:
    before = count(core_metrics.DB_TRANSACTIONS, "commit_failed")

    async def operation(session: AsyncSession) -> None:
        await session.execute(text("SET CONSTRAINTS ALL DEFERRED"))
        await session.execute(text("INSERT INTO child VALUES (1, 99)"))

    with pytest.raises(Failure) as caught:
        await database.run(operation)

    assert caught.value.mode is failures.COMMIT_FAILED
    assert count(core_metrics.DB_TRANSACTIONS, "commit_failed") == before + 1


async def test_one_of_a_deadlocked_pair_is_tried_again(database: Database) -> None:
    before = count(metrics.DB_RETRIES, "40P01")
    both_hold = asyncio.Barrier(2)
    first_round = {1, 2}

    def pair(first: int, second: int) -> Callable[[AsyncSession], Awaitable[None]]:
        async def operation(session: AsyncSession) -> None:
            # The server looks for deadlocks after this; it must be sooner than the lock timeout.
            await session.execute(text(f"UPDATE parent SET n = n + 1 WHERE id = {first}"))
            if first in first_round:
                first_round.discard(first)
                await both_hold.wait()
            await session.execute(text(f"UPDATE parent SET n = n + 1 WHERE id = {second}"))

        return operation

    await asyncio.gather(database.run(pair(1, 2)), database.run(pair(2, 1)))

    assert count(metrics.DB_RETRIES, "40P01") == before + 1
    rows = await database.run(statement("SELECT n FROM parent ORDER BY id"))
    assert [row.n for row in rows] == [3, 3]  # type: ignore[attr-defined]


async def test_serialization_failures_are_tried_twice_more_and_then_told(
    database: Database,
) -> None:
    tries = 0

    async def operation(session: AsyncSession) -> None:
        nonlocal tries
        tries += 1
        await session.execute(text("DO $$ BEGIN RAISE SQLSTATE '40001'; END $$"))

    with pytest.raises(Failure) as caught:
        await database.run(operation)

    assert caught.value.mode is failures.TX_CONFLICT
    assert tries == 3


async def test_a_read_survives_the_end_of_its_connection(
    database: Database, postgres: Postgres
) -> None:
    tries = 0

    async def operation(session: AsyncSession) -> int:
        nonlocal tries
        tries += 1
        backend = (await session.execute(text("SELECT pg_backend_pid()"))).scalar_one()
        if tries == 1:
            await terminate(postgres, backend)
        return int((await session.execute(text("SELECT 7"))).scalar_one())

    assert await database.run(operation, idempotent=True) == 7
    assert tries == 2


async def test_a_write_whose_connection_ended_is_not_repeated(
    database: Database, postgres: Postgres
) -> None:
    tries = 0

    async def operation(session: AsyncSession) -> None:
        nonlocal tries
        tries += 1
        backend = (await session.execute(text("SELECT pg_backend_pid()"))).scalar_one()
        await terminate(postgres, backend)
        await session.execute(text("UPDATE parent SET n = 5"))

    with pytest.raises(Failure) as caught:
        await database.run(operation)

    assert caught.value.mode is failures.DB_CONNECTION_LOST
    assert tries == 1
    assert database.pool.checkedout() == 0


async def test_an_idle_connection_that_was_killed_is_noticed_before_it_is_used(
    database: Database, postgres: Postgres
) -> None:
    backend = await database.run(lambda session: session.scalar(text("SELECT pg_backend_pid()")))
    await terminate(postgres, backend)

    assert await database.run(lambda session: session.scalar(text("SELECT 1"))) == 1
    assert backend != await database.run(
        lambda session: session.scalar(text("SELECT pg_backend_pid()"))
    )


async def test_a_connection_is_pinged_when_it_was_idle_for_long(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    pinged = 0
    dialect = database.engine.sync_engine.dialect
    ping = dialect.do_ping

    def counted(connection: DBAPIConnection) -> bool:
        nonlocal pinged
        pinged += 1
        return ping(connection)

    monkeypatch.setattr(dialect, "do_ping", counted)
    now = 0.0
    monkeypatch.setattr(database.pool.meter, "clock", lambda: now)
    await database.read(text("SELECT 1"))

    now += UNPINGED_SECONDS - 0.1
    await database.read(text("SELECT 1"))
    assert pinged == 0

    now += UNPINGED_SECONDS
    await database.read(text("SELECT 1"))
    assert pinged == 1


async def test_a_changed_column_type_costs_one_retry(database: Database, owner: Owner) -> None:
    read = statement("SELECT n FROM parent WHERE id = 1")
    for _ in range(3):
        await database.run(read)
    await owner.execute("ALTER TABLE parent ALTER n TYPE bigint")
    before = count(metrics.DB_RETRIES, "cached_plan")

    rows = await database.run(read)

    assert rows[0].n == 1  # type: ignore[index]
    assert count(metrics.DB_RETRIES, "cached_plan") == before + 1


RECREATE_MOOD = """
ALTER TABLE parent ALTER m TYPE text;
DROP TYPE mood;
CREATE TYPE mood AS ENUM ('good', 'bad');
ALTER TABLE parent ALTER m TYPE mood USING m::mood;
"""


@pytest.mark.parametrize(
    "sql",
    ["SELECT id FROM parent WHERE m = CAST('good' AS mood)", "UPDATE parent SET m = 'bad'"],
)
async def test_a_type_made_anew_under_its_old_name_costs_one_retry(
    database: Database, owner: Owner, sql: str
) -> None:
    async def mood(session: AsyncSession) -> object:
        # With a parameter: its type is part of the prepared statement.
        asked = text("UPDATE parent SET m = CAST(:m AS mood) RETURNING m")
        return (await session.execute(asked, {"m": "good"})).scalars().all()

    for operation in (statement(sql), mood):
        for _ in range(3):
            await database.run(operation)
    await owner.execute(RECREATE_MOOD)
    before = count(metrics.DB_RETRIES, "cached_plan")

    moods = await database.run(mood)
    await database.run(statement(sql))

    assert moods == ["good", "good"]
    assert count(metrics.DB_RETRIES, "cached_plan") - before == 1


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT '20000-01-01'::timestamptz",
        "SELECT '20000-01-01'::date",
        "SELECT '0044-03-15 BC'::timestamp",
        "SELECT '100000 years'::interval * 1000",
    ],
)
async def test_a_stored_value_that_python_has_no_room_for_is_our_data(
    database: Database, sql: str
) -> None:
    with pytest.raises(Failure) as raised:
        await database.run(statement(sql))

    assert raised.value.mode is failures.STORED_DATA_INVALID
    assert raised.value.cause == "data"


async def test_what_an_operation_gets_wrong_is_not_taken_for_stored_data(
    database: Database,
) -> None:
    async def operation(session: AsyncSession) -> object:
        await session.execute(text("SELECT 1"))
        return int("seven")

    with pytest.raises(ValueError, match="seven"):
        await database.run(operation)


async def test_a_parameter_that_cannot_be_sent_is_no_lost_connection(database: Database) -> None:
    async def operation(session: AsyncSession) -> object:
        return await session.execute(text("SELECT CAST(:n AS int)"), {"n": 2**40})

    with pytest.raises(Failure) as raised:
        await database.run(operation)

    assert raised.value.mode is failures.CONSTRAINT_VIOLATION


async def terminate(postgres: Postgres, backend: int) -> None:
    admin = await asyncpg.connect(postgres.dsn("superuser"))
    try:
        await admin.execute("SELECT pg_terminate_backend($1, 5000)", backend)
    finally:
        await admin.close()


async def test_a_full_pool_is_a_fast_refusal_that_names_the_holders(database: Database) -> None:
    release = asyncio.Event()
    holding = asyncio.Semaphore(0)

    async def hold(session: AsyncSession) -> None:
        await session.execute(text("SELECT 1"))
        holding.release()
        await release.wait()

    holders = [asyncio.create_task(database.run(hold)) for _ in range(2)]
    for _ in holders:
        await holding.acquire()
    timeouts = count(core_metrics.POOL_TIMEOUTS, metrics.POOL)

    with pytest.raises(Failure) as caught:
        await database.run(statement("SELECT 1"))

    assert caught.value.mode is failures.DB_POOL_EXHAUSTED
    assert count(core_metrics.POOL_TIMEOUTS, metrics.POOL) == timeouts + 1
    assert len(database.pool.meter.top_holders()) == 2
    release.set()
    await asyncio.gather(*holders)
    assert database.pool.meter.held == {}
    assert database.pool.meter.waiting == 0


async def test_more_waiters_than_allowed_are_refused_without_waiting(
    postgres: Postgres, owner: object
) -> None:
    database = Database(
        config_for(postgres, pool_size=1, pool_waiters_max=1, pool_timeout_seconds=5)
    )
    release, holding = asyncio.Event(), asyncio.Event()

    async def hold(session: AsyncSession) -> None:
        await session.execute(text("SELECT 1"))
        holding.set()
        await release.wait()

    holder = asyncio.create_task(database.run(hold))
    await holding.wait()
    waiter = asyncio.create_task(database.run(statement("SELECT 1")))
    while not database.pool.meter.waiting:
        await asyncio.sleep(0)

    with pytest.raises(Failure) as caught:
        await database.run(statement("SELECT 1"))

    assert (caught.value.mode, caught.value.cause) == (failures.DB_POOL_EXHAUSTED, "waiter_limit")
    release.set()
    await asyncio.gather(holder, waiter)
    await database.close()


@pytest.mark.parametrize(
    ("mode", "reason"), [("refuse", "refused"), ("reset", "refused"), ("blackhole", "timeout")]
)
async def test_a_database_that_cannot_be_reached_closes_the_gate(
    postgres: Postgres, owner: object, mode: str, reason: str
) -> None:
    async with FaultProxy("127.0.0.1", postgres.port) as proxy:
        config = config_for(
            postgres,
            database_port=proxy.port,
            connect_timeout_seconds=0.2,
            connect_gate_seconds=60,
        )
        database = Database(config)
        proxy.mode = mode  # type: ignore[assignment]
        before = count(core_metrics.DB_CONNECT_FAILURES, reason)

        with pytest.raises(Failure) as first:
            await database.run(statement("SELECT 1"))
        with pytest.raises(Failure) as second:
            await database.run(statement("SELECT 1"))

        assert (first.value.mode, first.value.cause) == (failures.DB_UNAVAILABLE, reason)
        assert (second.value.mode, second.value.cause) == (failures.DB_UNAVAILABLE, reason)
        # The second was refused at the gate: nobody tried to connect again.
        assert count(core_metrics.DB_CONNECT_FAILURES, reason) == before + 1
        await database.close()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"database_password": "wrong"}, "auth"),
        ({"database_user": "nobody"}, "auth"),
        ({"database_name": "absent"}, "other"),
    ],
)
async def test_a_database_that_does_not_let_us_in_says_why(
    postgres: Postgres, change: dict[str, object], reason: str
) -> None:
    database = Database(config_for(postgres, **{"connect_gate_seconds": 0, **change}))

    with pytest.raises(Failure) as caught:
        await database.run(statement("SELECT 1"))

    assert (caught.value.mode, caught.value.cause) == (failures.DB_UNAVAILABLE, reason)
    await database.close()


async def test_a_network_that_goes_silent_ends_at_the_command_timeout(
    postgres: Postgres, owner: object
) -> None:
    async with FaultProxy("127.0.0.1", postgres.port) as proxy:
        database = Database(config_for(postgres, database_port=proxy.port))

        async def operation(session: AsyncSession) -> None:
            await session.execute(text("SELECT 1"))
            proxy.mode = "blackhole"
            await session.execute(text("SELECT 2"))

        with pytest.raises(Failure) as caught:
            await database.run(operation)

        assert (caught.value.mode, caught.value.cause) == (failures.DB_TIMEOUT, "command_timeout")
        proxy.mode = "pass"
        await database.close()
