"""One client span per SQL statement: OpenTelemetry's engine tracer, without what we cannot use.

The package's instrumentor declares SQLAlchemy < 2.1 and otherwise stays silent, patches
`create_engine` for the whole process and adds a `connect` span to every checkout; its engine tracer
needs none of that. Its pool listeners are taken off, since they count wrongly after a leak, and so is
its error listener, since that writes the driver's message, with the values of the row, into the span.
It names every span after the statement's first word; the conventions want the summary.
"""

from dataclasses import dataclass
from typing import Any

from opentelemetry.metrics import NoOpMeter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import Span, Status, StatusCode
from sqlalchemy import Engine, event
from sqlalchemy.engine import ExceptionContext

from firedrill_kit.telemetry.guard import guard
from firedrill_kit.telemetry.query_summary import summary_of

SCOPE = "opentelemetry.instrumentation.sqlalchemy"

_GUARD = guard("traces")


@dataclass(frozen=True)
class StatementSpans:
    """What was put on an engine, so that the self-check can find it there."""

    engine: Engine
    listeners: tuple[tuple[str, Any], ...]

    def missing(self) -> list[str]:
        """Return the names of listeners that are no longer on the engine."""
        return [
            name
            for name, listener in self.listeners
            if not event.contains(self.engine, name, listener)
        ]


def instrument(engine: Engine, provider: TracerProvider) -> StatementSpans | None:
    """Put the listeners on a sync engine; None when the instrumentation is not installed."""
    try:
        from opentelemetry.instrumentation.sqlalchemy.engine import (  # noqa: PLC0415
            EngineTracer,
            _after_cur_exec,
            _handle_error,
        )
        from opentelemetry.instrumentation.sqlalchemy.version import (  # noqa: PLC0415
            __version__,
        )
    except ImportError:
        # The start-up check says so in its own words and ends the process.
        return None
    tracer = EngineTracer(  # type: ignore[no-untyped-call]
        provider.get_tracer(SCOPE, __version__),
        engine,
        NoOpMeter(SCOPE).create_up_down_counter("unused"),
    )
    before = tracer._before_cur_exec  # noqa: SLF001 - the version is pinned; a test holds the names
    for name, listener in (
        ("handle_error", _handle_error),
        ("connect", tracer._pool_connect),  # noqa: SLF001
        ("close", tracer._pool_close),  # noqa: SLF001
        ("checkin", tracer._pool_checkin),  # noqa: SLF001
        ("checkout", tracer._pool_checkout),  # noqa: SLF001
    ):
        event.remove(engine, name, listener)
    # After the tracer's own, which starts the span.
    event.listen(engine, "before_cursor_execute", _summarise)
    event.listen(engine, "handle_error", _end_failed)
    return StatementSpans(
        engine,
        (
            ("before_cursor_execute", before),
            ("before_cursor_execute", _summarise),
            ("after_cursor_execute", _after_cur_exec),
            ("handle_error", _end_failed),
        ),
    )


def _summarise(
    *arguments: Any,
) -> None:  # connection, cursor, statement, parameters, context, many
    span: Span | None = getattr(arguments[4], "_otel_span", None)
    if span is None:
        return
    with _GUARD:
        summary = summary_of(arguments[2])
        span.update_name(summary.text)
        span.set_attribute("db.query.summary", summary.text)
        span.set_attribute("db.operation.name", summary.operation)
        if summary.collection:
            span.set_attribute("db.collection.name", summary.collection)


def _end_failed(context: ExceptionContext) -> None:
    span: Span | None = getattr(context.execution_context, "_otel_span", None)
    if span is None:
        return
    error = context.original_exception
    sqlstate = getattr(error, "sqlstate", None)
    if isinstance(sqlstate, str):
        span.set_attribute("db.response.status_code", sqlstate)
    span.set_attribute(
        "error.type", sqlstate if isinstance(sqlstate, str) else type(error).__qualname__
    )
    span.set_status(Status(StatusCode.ERROR))
    span.end()
