"""How long statements take and how transactions end, of any SQLAlchemy engine."""

from functools import lru_cache
from typing import Any

from prometheus_client import Histogram
from sqlalchemy import Engine, event
from sqlalchemy.engine import ExceptionContext

from firedrill_kit import metrics
from firedrill_kit.driver_errors import Meaning, meaning_of
from firedrill_kit.telemetry.guard import guard
from firedrill_kit.telemetry.query_summary import summary_of
from firedrill_kit.telemetry.record import current
from firedrill_kit.telemetry.statement_spans import hook_of

_GUARD = guard("database")
_BEGUN = "firedrill.begun"
_UNKNOWN = Meaning("other", "internal_error")


def measure_statements(engine: Engine) -> None:
    """Observe every statement's duration by operation, table and SQLSTATE class.

    This runs inside the statement's thread or greenlet: no awaits here.
    """
    system, database = engine.dialect.name, engine.url.database or ""

    # Summary and labels of a statement without an error are looked up once: 3 µs each time otherwise.
    @lru_cache(maxsize=512)
    def child_of(statement: str, sqlstate: str, error_type: str) -> Histogram:
        summary = summary_of(statement)
        return metrics.DB_OPERATION_SECONDS.labels(
            system, database, summary.collection, summary.operation, sqlstate, error_type
        )

    def observe(statement: str, seconds: float, error: BaseException | None) -> None:
        record = current()
        if record is not None:
            record.db_seconds += seconds
            record.db_statements += 1
        if error is None:
            child_of(statement, "", "").observe(seconds)
            return
        meaning = meaning_of(error) or _UNKNOWN
        is_known = meaning.error_type in metrics.DB_ERROR_TYPES
        child_of(statement, meaning.sqlstate, meaning.error_type if is_known else "other").observe(
            seconds
        )

    hook_of(engine).observe = observe

    def failed(context: ExceptionContext) -> None:
        """Leave with the request what its last database error means, should it end in a 5xx."""
        with _GUARD:
            record, meaning = current(), meaning_of(context.original_exception)
            if record is not None and meaning is not None:
                record.seen_failure = (meaning.code, meaning.error_type)

    # The one event that is left, for what fails outside of a statement: 3 µs of each (measured).
    event.listen(engine, "handle_error", failed)


def count_transactions(engine: Engine) -> None:
    """Count how transactions end, once the driver has said so.

    A unit of work that only reads and is closed without a commit is rolled back: that is what happens.
    """
    dialect: Any = engine.dialect
    if getattr(dialect, "firedrill_transactions", False):
        return  # a second application with this engine: each would be counted twice
    dialect.firedrill_transactions = True
    begin, commit, rollback = dialect.do_begin, dialect.do_commit, dialect.do_rollback
    committed, rolled_back, failed = map(
        metrics.DB_TRANSACTIONS.labels, ("committed", "rolled_back", "commit_failed")
    )

    # The pool rolls every connection back that it takes back: only what was begun is a transaction. The
    # event that tells them apart would cost each statement 30 µs (measured). Noted with the connection:
    # one that is lost takes it along.
    def do_begin(connection: Any) -> None:
        begin(connection)
        with _GUARD:
            _info(connection)[_BEGUN] = True

    def do_commit(connection: Any) -> None:
        try:
            commit(connection)
        except BaseException:
            failed.inc()
            raise
        with _GUARD:
            _info(connection).pop(_BEGUN, None)
        committed.inc()

    def do_rollback(connection: Any) -> None:
        rollback(connection)
        with _GUARD:
            if _info(connection).pop(_BEGUN, False):
                rolled_back.inc()

    dialect.do_begin, dialect.do_commit, dialect.do_rollback = do_begin, do_commit, do_rollback


def _info(connection: Any) -> dict[str, Any]:
    """Return what is noted with a connection; that of the first look of SQLAlchemy 2.0 has nothing."""
    try:
        found: dict[str, Any] = connection.info
    except NotImplementedError:
        return {}
    return found
