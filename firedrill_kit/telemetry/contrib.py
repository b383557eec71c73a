"""The official way: FastAPIInstrumentor, SQLAlchemyInstrumentor and the SDK, as the oracle of the fast path.

TELEMETRY_INSTRUMENTATION=contrib runs the service on them, at the price of the SDK: 20 times the CPU. What
they may not record they are not shown: the middleware gets a scope of its own, without query and address,
and of `traceparent` only what comes from trusted networks. What they call otherwise is renamed here.
"""

# The conventions are chosen when the instrumentations are imported, hence before them. Not sooner: this is
# also what an application's own instrumentations read.
import os

os.environ["OTEL_SEMCONV_STABILITY_OPT_IN"] = "http,database"

import sys
from collections.abc import Callable, Sequence
from threading import Thread
from typing import Any

import sqlalchemy
from fastapi import FastAPI
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
from opentelemetry.instrumentation.utils import unwrap
from opentelemetry.metrics import NoOpMeterProvider
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from prometheus_client import Counter, Gauge
from sqlalchemy import Engine, event
from sqlalchemy.engine import ExceptionContext
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Receive, Scope, Send

from firedrill_kit.telemetry.guard import guard
from firedrill_kit.telemetry.keep import Keep
from firedrill_kit.telemetry.labels import UNMATCHED
from firedrill_kit.telemetry.marks import mark
from firedrill_kit.telemetry.query_summary import summary_of
from firedrill_kit.telemetry.record import RequestRecord
from firedrill_kit.telemetry.server_spans import (
    PATH_LENGTH_MAX,
    USER_AGENT_LENGTH_MAX,
    TrustedNetworks,
    name_trace,
    span_name,
)
from firedrill_kit.telemetry.statement_spans import name_error, summary_attributes

_ORIGINAL = "telemetry.scope"
_REMOTE = "telemetry.untrusted_parent"
_TRACE_CONTEXT = TraceContextTextMapPropagator()
_GUARD = guard("traces")


def with_server_span(
    app: ASGIApp, *, provider: TracerProvider, trusted: TrustedNetworks, keep: Keep
) -> ASGIApp:
    """Return the app inside exactly one server span per HTTP request; to be called before it is asked."""
    # `http.py` measures; the middleware's metrics would be one series per Host header.
    options: dict[str, Any] = {
        "server_request_hook": _begun,
        "tracer_provider": provider,
        "meter_provider": NoOpMeterProvider(),
        "exclude_spans": ["send", "receive"],
    }
    traced: ASGIApp
    if isinstance(app, FastAPI):
        FastAPIInstrumentor.instrument_app(app, **options)
        app.user_middleware.insert(0, Middleware(_Restored, keep=keep))
        traced = app
    else:
        traced = OpenTelemetryMiddleware(
            _Restored(app, keep=keep), default_span_details=_span_details, **options
        )

    async def middleware(scope: Scope, receive: Receive, send: Send) -> None:
        is_request = scope["type"] == "http"
        await traced(_visible(scope, trusted) if is_request else scope, receive, send)

    return middleware


class _Restored:
    """Right inside: the application gets the scope as it came."""

    def __init__(self, app: ASGIApp, keep: Keep) -> None:
        self._app = app
        self._keep = keep

    async def __call__(self, visible: Scope, receive: Receive, send: Send) -> None:
        scope = visible.pop(_ORIGINAL, visible)
        if "app" in visible:
            scope["app"] = visible["app"]
        try:
            await self._app(scope, receive, send)
        except BaseException:
            # The official middleware ends the span before anybody outside can say more.
            record: RequestRecord | None = scope.get("firedrill.record")
            if record is not None and not record.status:
                with _GUARD:
                    mark(record, 500, self._keep)
            raise


def _visible(scope: Scope, trusted: TrustedNetworks) -> Scope:
    record: RequestRecord = scope["firedrill.record"]
    headers: list[tuple[bytes, bytes]] = []
    if record.user_agent:
        headers.append((b"user-agent", record.user_agent[:USER_AGENT_LENGTH_MAX]))
    visible: dict[str, Any] = {
        **scope,
        "path": scope["path"][:PATH_LENGTH_MAX],
        "query_string": b"",
        "client": None,
        "headers": headers,
        _ORIGINAL: scope,
    }
    if len(record.parents) == 1:
        client = scope.get("client")
        if client is not None and trusted.contain(client[0]):
            headers.append((b"traceparent", record.parents[0]))
        else:
            visible[_REMOTE] = record.parents[0]
    return visible


def _span_details(visible: Scope) -> tuple[str, dict[str, str]]:
    record: RequestRecord = visible["firedrill.record"]
    return span_name(record.method, record.route), {"http.route": record.route}


def _begun(span: trace.Span, visible: Scope) -> None:
    record: RequestRecord = visible["firedrill.record"]
    record.span = span
    name_trace(record, span)
    span.set_attribute("firedrill.request_id", record.request_id)
    # The middleware's own has the port in it, which is in `server.port`.
    if server := visible.get("server"):
        span.set_attribute("server.address", server[0])
    if record.load_run:
        span.set_attribute("firedrill.load_run", record.load_run)
    if record.route == UNMATCHED:  # no route has no attribute there
        span.update_name(span_name(record.method, record.route))
        span.set_attribute("http.route", record.route)
    if parent := visible.get(_REMOTE):
        carrier = {"traceparent": parent.decode("latin-1")}
        remote = trace.get_current_span(
            _TRACE_CONTEXT.extract(carrier, context=Context())
        ).get_span_context()
        if remote.is_valid:
            span.add_link(remote)


def instrument_engine(engine: Engine, provider: TracerProvider) -> Callable[[], list[str]] | None:
    """Have each statement of a sync engine leave one client span; None when that is not installed.

    Returns what says which listeners are no longer there.
    """
    try:
        from opentelemetry.instrumentation.sqlalchemy import (  # noqa: PLC0415
            SQLAlchemyInstrumentor,
        )
        from opentelemetry.instrumentation.sqlalchemy.engine import (  # noqa: PLC0415
            _after_cur_exec,
            _handle_error,
        )
    except ImportError:
        return None
    # `instrument` is silent with SQLAlchemy 2.1 and for a second engine.
    tracer = SQLAlchemyInstrumentor()._instrument(  # type: ignore[no-untyped-call]  # noqa: SLF001
        engine=engine, tracer_provider=provider, meter_provider=NoOpMeterProvider()
    )
    # It leaves a span of each checkout, and would instrument every other engine.
    unwrap(Engine, "connect")
    for module in (sqlalchemy, sqlalchemy.engine, sqlalchemy.engine.create):
        unwrap(module, "create_engine")
    if asyncio := sys.modules.get("sqlalchemy.ext.asyncio"):
        unwrap(asyncio, "create_async_engine")
    listeners = (
        ("before_cursor_execute", tracer._before_cur_exec),  # noqa: SLF001
        ("before_cursor_execute", _summarise),
        ("after_cursor_execute", _after_cur_exec),
        ("handle_error", _name_error),
    )
    event.listen(engine, "before_cursor_execute", _summarise)
    # Before its own, which ends the span.
    event.remove(engine, "handle_error", _handle_error)
    event.listen(engine, "handle_error", _name_error)
    event.listen(engine, "handle_error", _handle_error)
    return lambda: [
        f"{name} listener"
        for name, listener in listeners
        if not event.contains(engine, name, listener)
    ]


def _summarise(
    *arguments: Any,
) -> None:  # connection, cursor, statement, parameters, context, many
    span: trace.Span | None = getattr(arguments[4], "_otel_span", None)
    if span is not None:
        with _GUARD:
            span.update_name(summary_of(arguments[2]).text)
            span.set_attributes(summary_attributes(arguments[2]))


def _name_error(context: ExceptionContext) -> None:
    span: trace.Span | None = getattr(context.execution_context, "_otel_span", None)
    if span is not None:
        name_error(span, context.original_exception)


class CountedExporter(SpanExporter):
    """An exporter whose spans leave as a policy lets them, and are counted by result."""

    def __init__(
        self,
        exporter: SpanExporter,
        *,
        clean: Callable[[ReadableSpan], ReadableSpan],
        spans: Counter,
    ) -> None:
        self._exporter, self._clean, self._spans = exporter, clean, spans

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = self._exporter.export([self._clean(span) for span in spans])
        is_taken = result is SpanExportResult.SUCCESS
        self._spans.labels("exported" if is_taken else "failed").inc(len(spans))
        return result

    def shutdown(self) -> None:
        self._exporter.shutdown()


class Batches:
    """The SDK's own queue, with the interface of `SpanQueue`; it does not report what it drops."""

    def __init__(self, exporter: CountedExporter, *, capacity: int, capacity_gauge: Gauge) -> None:
        capacity_gauge.set(capacity)
        self.processor = BatchSpanProcessor(
            exporter, max_queue_size=capacity, max_export_batch_size=min(capacity, 512)
        )

    def force_flush(self, timeout_millis: int = 2000) -> bool:
        return self.processor.force_flush(timeout_millis)

    def stop(self, timeout_seconds: float) -> bool:
        # Its shutdown takes 30 s with a dead collector.
        thread = Thread(target=self.processor.shutdown, daemon=True)
        thread.start()
        thread.join(timeout_seconds)
        return not thread.is_alive()
