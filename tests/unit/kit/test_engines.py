"""Any engine is measured where it stands, and goes on as before."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import Mock

import pytest
import sqlalchemy.exc
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.pool import NullPool, QueuePool

from firedrill_kit import driver_errors, metrics
from firedrill_kit.pool import PoolMeter, measure_pool, pool_of
from firedrill_kit.statements import count_transactions, measure_statements
from firedrill_kit.telemetry import record
from tests.signals import Samples

USED = {"db_client_connection_pool_name": "shop", "db_client_connection_state": "used"}


def now(name: str, **labels: str) -> float | None:
    return metrics.REGISTRY.get_sample_value(name, labels)


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    found = create_engine(
        f"sqlite:///{tmp_path}/shop.db",
        poolclass=QueuePool,
        pool_size=1,
        max_overflow=1,
        pool_timeout=0.05,
    )
    assert measure_pool(found, PoolMeter("shop"))
    measure_statements(found)
    count_transactions(found)
    yield found
    found.dispose()


def test_the_pool_is_read_at_every_scrape_also_after_it_was_disposed_of(engine: Engine) -> None:
    for _ in range(2):
        with engine.connect():
            assert now("db_client_connection_count", **USED) == 1
        assert now("db_client_connection_count", **USED) == 0
        assert now("db_client_connection_max", db_client_connection_pool_name="shop") == 2
        engine.dispose()


def test_who_holds_connections_now_is_told_while_they_are_held(engine: Engine) -> None:
    held = "db_client_connection_held"
    token = record.begin(record.RequestRecord(method="GET", route="/items"))
    try:
        with engine.connect():
            labels = {"db_client_connection_pool_name": "shop", "http_route": "/items"}
            assert now(held, **labels) == 1
            assert (now("db_client_connection_oldest_checkout_seconds", **labels) or 0) > 0
    finally:
        record.end(token)

    assert now(held, db_client_connection_pool_name="shop", http_route="") == 0
    assert now(held, db_client_connection_pool_name="shop", http_route="/items") == 0


def test_a_wait_that_ends_without_a_connection_is_sqlalchemys_own_error(engine: Engine) -> None:
    before = Samples()

    with engine.connect(), engine.connect(), pytest.raises(sqlalchemy.exc.TimeoutError) as caught:
        engine.connect()

    pool = {"db_client_connection_pool_name": "shop"}
    assert before.grown("db_client_connection_timeouts_total", **pool) == 1
    assert before.grown("db_client_connection_wait_time_seconds_count", **pool) == 3
    meaning = driver_errors.meaning_of(caught.value)
    assert meaning
    assert meaning.code == "db_pool_exhausted"


def test_threads_that_wait_are_counted_as_long_as_they_do(engine: Engine) -> None:
    pending = {"db_client_connection_pool_name": "shop"}
    pool_of(engine)._timeout = 30
    got = threading.Event()

    def wait() -> None:
        with engine.connect():
            got.set()

    with engine.connect():
        with engine.connect():
            thread = threading.Thread(target=wait)
            thread.start()
            while now("db_client_connection_pending_requests", **pending) != 1:
                time.sleep(0.001)
            assert not got.is_set()
        thread.join()
    assert now("db_client_connection_pending_requests", **pending) == 0


def test_transactions_are_counted_by_how_they_ended(engine: Engine) -> None:
    before = Samples()

    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE items (id INTEGER PRIMARY KEY)"))
        connection.execute(text("INSERT INTO items VALUES (1)"))
    with pytest.raises(sqlalchemy.exc.IntegrityError), engine.begin() as connection:
        connection.execute(text("INSERT INTO items VALUES (1)"))

    assert before.grown("db_transactions_total", outcome="committed") == 1
    assert before.grown("db_transactions_total", outcome="rolled_back") == 1
    statements = "db_client_operation_duration_seconds_count"
    assert before.grown(statements, db_operation_name="INSERT", error_type="") == 1
    assert before.grown(statements, db_operation_name="INSERT", error_type="other") == 1


def test_an_engine_of_two_applications_is_counted_once(engine: Engine) -> None:
    measure_statements(engine)
    count_transactions(engine)
    before = Samples()

    with engine.begin() as connection:
        connection.execute(text("SELECT 1"))

    assert before.grown("db_transactions_total", outcome="committed") == 1
    assert before.grown("db_client_operation_duration_seconds_count") == 1


def test_a_connection_that_was_lost_in_a_transaction_is_not_rolled_back_later(
    engine: Engine,
) -> None:
    for _ in range(3):
        with engine.connect() as connection:
            connection.execute(text("SELECT 1"))
            connection.invalidate()
    before = Samples()

    for _ in range(3):  # in the memory of those that are gone
        engine.raw_connection().close()

    assert before.grown("db_transactions_total") == 0


def test_a_statement_may_be_executed_in_every_way_of_the_dialect(engine: Engine) -> None:
    before = Samples()
    with engine.connect() as connection:
        cursor = connection.connection.cursor()
        engine.dialect.do_execute(cursor, "SELECT 1", ())
        engine.dialect.do_execute(cursor, "SELECT 1", (), context=None)
        engine.dialect.do_execute_no_params(cursor, "SELECT 1")

    assert before.grown("db_client_operation_duration_seconds_count") == 3


def test_a_connection_that_cannot_be_opened_is_counted_and_its_error_passed_on() -> None:
    def refuse() -> None:
        raise ConnectionRefusedError("secret")

    engine = create_engine("sqlite://", poolclass=QueuePool, creator=refuse)
    measure_pool(engine, PoolMeter("away"))
    before = Samples()

    with pytest.raises(ConnectionRefusedError) as caught:
        engine.connect()

    assert before.grown("db_connect_failures_total", reason="refused") == 1
    creations = "db_client_connection_create_time_seconds_count"
    assert before.grown(creations, db_client_connection_pool_name="away") == 1
    meaning = driver_errors.meaning_of(caught.value)
    assert meaning
    assert (meaning.code, meaning.error_type) == ("db_unavailable", "refused")


class OfAnotherClient(Exception):
    """As redis and requests have them: named like the driver's, or with something else as `orig`."""

    orig = "a text"


@pytest.mark.parametrize(
    "error",
    [
        FileNotFoundError("report.pdf"),
        ConnectionResetError(),
        TimeoutError(),
        ValueError(),
        type("DataError", (OfAnotherClient,), {})(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_that_no_driver_raised_says_nothing_of_the_database(error: Exception) -> None:
    with pytest.raises(type(error)) as caught:
        raise error

    assert driver_errors.meaning_of(caught.value) is None


def test_an_error_without_sqlstate_that_came_through_sqlalchemy_is_the_databases(
    engine: Engine,
) -> None:
    engine.dialect.do_execute = Mock(side_effect=ConnectionResetError)  # type: ignore[method-assign]
    with engine.connect() as connection, pytest.raises(ConnectionResetError) as caught:
        connection.execute(text("SELECT 1"))

    meaning = driver_errors.meaning_of(caught.value)
    assert meaning
    assert meaning.code == "db_connection_lost"


@pytest.mark.parametrize(
    ("text_of_libpq", "reason"),
    [
        ('connection to server at "10.0.0.1", port 5432 failed: Connection refused', "refused"),
        ("connection failed: connection timeout expired", "timeout"),
        ('FATAL:  password authentication failed for user "app"', "auth"),
        ('FATAL:  permission denied for database "shop"', "auth"),
        ("FATAL:  sorry, too many clients already", "too_many"),
        ('FATAL:  too many connections for role "app"', "too_many"),
        ("FATAL:  remaining connection slots are reserved for superusers", "too_many"),
        ("FATAL:  the database system is starting up", "starting"),
        ("could not translate host name", "other"),
    ],
)
def test_libpq_says_only_in_words_why_it_could_not_connect(
    text_of_libpq: str, reason: str
) -> None:
    assert driver_errors.connect_failure(Exception(text_of_libpq)).reason == reason


def test_two_engines_are_told_apart_by_name(engine: Engine, tmp_path: Path) -> None:
    reports = create_engine(f"sqlite:///{tmp_path}/reports.db", poolclass=QueuePool)
    measure_pool(reports, PoolMeter("reports"))

    with reports.connect():
        assert now("db_client_connection_count", **USED) == 0
        labels = {**USED, "db_client_connection_pool_name": "reports"}
        assert now("db_client_connection_count", **labels) == 1


def test_a_pool_without_a_queue_is_left_alone(tmp_path: Path) -> None:
    engine = create_engine(f"sqlite:///{tmp_path}/shop.db", poolclass=NullPool)

    assert not measure_pool(engine, PoolMeter("shop"))
    assert type(engine.pool) is NullPool
