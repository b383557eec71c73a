"""How long statements take and how transactions end, of any SQLAlchemy engine."""

import time
from typing import Any

from sqlalchemy import Engine, event
from sqlalchemy.engine import ExceptionContext

from firedrill_kit import metrics
from firedrill_kit.driver_errors import Meaning, meaning_of
from firedrill_kit.telemetry.guard import guard
from firedrill_kit.telemetry.query_summary import summary_of
from firedrill_kit.telemetry.record import current

_GUARD = guard("database")
_UNKNOWN = Meaning("other", "internal_error")


def measure_statements(engine: Engine) -> None:
    """Observe every statement's duration by operation, table and SQLSTATE class.

    The listeners run inside the statement's thread or greenlet: no awaits here.
    """
    system, database = engine.dialect.name, engine.url.database or ""

    def before(*arguments: Any) -> None:
        # connection, cursor, statement, parameters, context, many
        if arguments[4] is not None:
            arguments[4].started_seconds = time.perf_counter()

    def after(*arguments: Any) -> None:
        started = getattr(arguments[4], "started_seconds", None)
        if started is not None:
            with _GUARD:
                seconds = time.perf_counter() - started
                _observe((system, database), arguments[2], seconds)

    def failed(context: ExceptionContext) -> None:
        with _GUARD:
            meaning = meaning_of(context.original_exception)
            _note_failure(meaning)
            started = getattr(context.execution_context, "started_seconds", None)
            if started is None or context.statement is None:
                return
            seconds = time.perf_counter() - started
            _observe((system, database), context.statement, seconds, meaning or _UNKNOWN)

    event.listen(engine, "before_cursor_execute", before)
    event.listen(engine, "after_cursor_execute", after)
    event.listen(engine, "handle_error", failed)


def count_transactions(engine: Engine) -> None:
    """Count how transactions end, once the driver has said so.

    A unit of work that only reads and is closed without a commit is rolled back: that is what happens.
    """
    dialect, committed = engine.dialect, metrics.DB_TRANSACTIONS.labels("committed")
    commit = dialect.do_commit

    def do_commit(connection: Any) -> None:
        try:
            commit(connection)
        except BaseException:
            metrics.DB_TRANSACTIONS.labels("commit_failed").inc()
            raise
        committed.inc()

    dialect.do_commit = do_commit  # type: ignore[method-assign, assignment]
    event.listen(
        engine, "rollback", lambda _connection: metrics.DB_TRANSACTIONS.labels("rolled_back").inc()
    )


def _note_failure(meaning: Meaning | None) -> None:
    """Leave with the request what its last database error means, should it end in a 5xx."""
    record = current()
    if record is not None and meaning is not None:
        record.seen_failure = (meaning.code, meaning.error_type)


def _observe(
    database: tuple[str, str], sql: str, seconds: float, meaning: Meaning | None = None
) -> None:
    """database: system and name. meaning: of its error; None, there was none."""
    summary = summary_of(sql)
    error_type, sqlstate = (meaning.error_type, meaning.sqlstate) if meaning else ("", "")
    if error_type and error_type not in metrics.DB_ERROR_TYPES:
        error_type = "other"
    metrics.DB_OPERATION_SECONDS.labels(
        *database, summary.collection, summary.operation, sqlstate, error_type
    ).observe(seconds)
    record = current()
    if record is not None:
        record.db_seconds += seconds
        record.db_statements += 1
