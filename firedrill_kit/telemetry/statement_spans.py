"""One client span per SQL statement, and its duration, from a wrapper around the dialect's `do_execute`.

SQLAlchemy's events cost 30 µs a statement with empty callbacks, as the engine then takes its path with events
at every point; the wrapper costs 2 (measured). It stands where the events are, around the driver's call:
BEGIN, COMMIT, ping and what the dialect asks a new connection are no statements of the application.
"""

from collections.abc import Callable, Mapping
from functools import lru_cache
from time import perf_counter, time_ns
from typing import Any

from opentelemetry import trace
from opentelemetry.trace import SpanKind, StatusCode
from opentelemetry.util.types import AttributeValue
from sqlalchemy import Engine

from firedrill_kit.telemetry.guard import guard
from firedrill_kit.telemetry.otlp import Template
from firedrill_kit.telemetry.provider import RecordingTracer
from firedrill_kit.telemetry.query_summary import summary_of
from firedrill_kit.telemetry.spans import RecordedSpan

SCOPE = "firedrill.sqlalchemy"
HOOKED = ("do_execute", "do_executemany", "do_execute_no_params")

Observe = Callable[[str, float, BaseException | None], None]
"""Gets a statement that has ended, its seconds, and its error."""

_GUARD = guard("traces")


class StatementHook:
    """What stands around the statements of one engine. observe, tracer: None, nobody asked yet."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.observe: Observe | None = None
        self.tracer: RecordingTracer | trace.Tracer | None = None
        self._constant = constant_attributes(engine)
        self._asking: object = None
        self._template = lru_cache(maxsize=512)(self._template_of)
        dialect: Any = engine.dialect
        self._hooks = {name: self._around(getattr(dialect, name)) for name in HOOKED}
        for name, hook in self._hooks.items():
            setattr(dialect, name, hook)
        dialect.initialize = self._around_initialize(dialect.initialize)

    def missing(self) -> list[str]:
        """Return what is no longer on the engine."""
        dialect = self.engine.dialect
        return [
            f"{name} hook"
            for name, hook in self._hooks.items()
            if getattr(dialect, name) is not hook
        ]

    def _around(self, execute: Callable[..., Any]) -> Callable[..., Any]:
        # Cheap, as it is on the way of every statement: the span is made when the statement has ended,
        # of two clock readings. It is never the current one, so nothing can ask for it before.
        def run(cursor: Any, statement: str, *rest: Any, **more: Any) -> Any:
            # rest: parameters and context, or the context alone
            if self._asking is not None:
                context = more.get("context", rest[-1] if rest else None)
                if getattr(context, "root_connection", None) is self._asking:
                    return execute(cursor, statement, *rest, **more)
            began, started = time_ns(), perf_counter()
            try:
                result = execute(cursor, statement, *rest, **more)
            except BaseException as error:
                self._ended(statement, began, perf_counter() - started, error)
                raise
            self._ended(statement, began, perf_counter() - started, None)
            return result

        return run

    def _around_initialize(self, initialize: Callable[..., Any]) -> Callable[..., Any]:
        def run(connection: Any) -> Any:
            self._asking = connection
            try:
                return initialize(connection)
            finally:
                self._asking = None

        return run

    def _ended(
        self, statement: str, began: int, seconds: float, error: BaseException | None
    ) -> None:
        try:
            if self.observe is not None:
                self.observe(statement, seconds, error)
            if self.tracer is not None:
                self._leave_span(self.tracer, statement, began, error)
        except Exception:
            with _GUARD:
                raise

    def _leave_span(
        self, tracer: Any, statement: str, began: int, error: BaseException | None
    ) -> None:
        name, attributes, template = self._template(statement)
        span: trace.Span
        if template is not None:
            span = RecordedSpan(tracer, template, trace.get_current_span(), {}, began)
        else:
            span = tracer.start_span(
                name, kind=SpanKind.CLIENT, attributes=attributes, start_time=began
            )
        if error is not None:
            name_error(span, error)
            span.set_status(StatusCode.ERROR)
        span.end()

    def _template_of(
        self, statement: str
    ) -> tuple[str, Mapping[str, AttributeValue], Template | None]:
        """Return name and attributes, which are the same whenever this is executed on the engine."""
        name = summary_of(statement).text
        attributes = {
            **self._constant,
            "db.query.text": statement,
            **summary_attributes(statement),
        }
        if isinstance(self.tracer, RecordingTracer):
            return name, attributes, self.tracer.template(name, SpanKind.CLIENT, attributes)
        return name, attributes, None


def hook_of(engine: Engine) -> StatementHook:
    """Return the hook of a sync engine, put there when there is none yet."""
    dialect: Any = engine.dialect
    found = getattr(dialect, "firedrill_statements", None)
    if not isinstance(found, StatementHook):
        found = dialect.firedrill_statements = StatementHook(engine)
    return found


def instrument(engine: Engine, provider: trace.TracerProvider) -> StatementHook:
    """Have each statement of a sync engine leave one client span, with this provider from now on."""
    hook = hook_of(engine)
    hook.tracer = provider.get_tracer(SCOPE)
    hook._template.cache_clear()  # noqa: SLF001 - templates are of one provider
    return hook


def constant_attributes(engine: Engine) -> dict[str, AttributeValue]:
    """Return what is the same for every statement of an engine."""
    name, url = engine.dialect.name, engine.url
    found = {
        "server.address": url.host,
        "server.port": url.port,
        "db.namespace": url.database,
        "db.system.name": name,
    }
    return {key: value for key, value in found.items() if value}


def summary_attributes(statement: str) -> dict[str, AttributeValue]:
    summary = summary_of(statement)
    found: dict[str, AttributeValue] = {
        "db.query.summary": summary.text,
        "db.operation.name": summary.operation,
    }
    if summary.collection:
        found["db.collection.name"] = summary.collection
    return found


def name_error(span: trace.Span, error: BaseException) -> None:
    """Name what a statement failed of by its SQLSTATE, else its type: the driver's text holds values."""
    sqlstate = getattr(error, "sqlstate", None)
    if isinstance(sqlstate, str):
        span.set_attribute("db.response.status_code", sqlstate)
    span.set_attribute(
        "error.type", sqlstate if isinstance(sqlstate, str) else type(error).__qualname__
    )
