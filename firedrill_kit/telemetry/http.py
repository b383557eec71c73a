"""The two middlewares that see a request: `Edge` outermost, `SpanMarks` right inside tracing.

`Edge` turns what the layers inside wrote into the request's record into the histogram sample, the
canonical log line and the counters. `SpanMarks` exists because the server span ends inside `send` of
the last body part: what it shall carry must be set when the answer starts, and not by the code that comes
back from `await app()`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from time import perf_counter
from typing import Any, Protocol

import structlog
from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.context import Context
from prometheus_client import Counter, Gauge, Histogram
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from structlog.typing import FilteringBoundLogger

from firedrill_kit.telemetry.callers import RecentCallers
from firedrill_kit.telemetry.guard import guard
from firedrill_kit.telemetry.identity import uuid7
from firedrill_kit.telemetry.keep import Keep
from firedrill_kit.telemetry.labels import (
    UNMATCHED,
    ClientVersions,
    bounded_method,
    client_request_id_of,
    client_version_of,
    error_type_of,
    load_run_of,
)
from firedrill_kit.telemetry.record import RequestRecord, begin, current, end

__all__ = ["Edge", "RequestRecord", "SpanMarks", "current", "mark_disconnected"]

SHED_SAMPLE_SECONDS = 1.0
"""In an overload one line a second says what happens; the counters say how often."""

_GUARD = guard("http")
_LEVEL_OF_BLAME = {"": "info", "caller": "info", "dependency": "warning", "us": "error"}


class Route(Protocol):
    """What the edge needs to know of a route."""

    @property
    def template(self) -> str: ...


def mark_disconnected(scope: Mapping[str, Any]) -> None:
    """Note that the connection of this request was lost; call it before the answer is complete.

    For the server's protocol: an application that does not read from a caller who has left is not
    notified by ASGI.
    """
    record = scope.get("firedrill.record")
    if record is not None:
        record.disconnected = True


class Edge:
    """The outermost middleware: makes the record, and signals from it.

    resolve: scope to the route, never raising; unmatched paths share one template.
    scheme: of the address that callers use, for `url_scheme`; None: as the server says.
    names_requests: whether `X-Request-Id` is added to every answer. log: where its lines go.
    is_outermost: whether no other tracing may have begun; a span that runs is then not our own.
    duration: by method, scheme, route, status, error type. active: by method, scheme, route.
    client_requests: by route, version, method, status. callers: who was answered how.
    Puts "firedrill.record" and "firedrill.route" into the scope. To be made after `logs.configure`.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        resolve: Callable[[Scope], Route],
        scheme: str | None,
        duration: Histogram,
        active: Gauge,
        client_requests: Counter,
        callers: RecentCallers,
        disconnects: Counter,
        client_versions: ClientVersions | None = None,
        names_requests: bool = True,
        is_outermost: bool = True,
        log: FilteringBoundLogger | None = None,
    ) -> None:
        self._app = app
        self._resolve = resolve
        self._scheme = scheme
        self._duration = duration
        self._active = active
        self._client_requests = client_requests
        self._callers = callers
        self._disconnects = disconnects
        self._versions = client_versions or ClientVersions()
        # Bound here: a lazy logger assembles itself anew for every line, 10 µs.
        self._log: FilteringBoundLogger = log or structlog.get_logger().bind()
        self._names_requests = names_requests
        self._is_outermost = is_outermost
        # Looking a child up by its labels costs three times what observing it does (measured).
        self._durations: dict[tuple[str, str, str, int], Histogram] = {}
        self._actives: dict[tuple[str, str, str], Gauge] = {}
        self._shed_since_sample = 0
        self._shed_sampled_at = float("-inf")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        record = self._begin(scope)
        scheme = self._scheme or ("https" if scope.get("scheme") == "https" else "http")
        active = self._active_of(record, scheme)
        answered = 0.0

        async def send_marked(message: Message) -> None:
            nonlocal answered
            if message["type"] == "http.response.start":
                # The whole answer is there by now; how fast it is taken is the caller's doing.
                answered = perf_counter()
                record.status = message["status"]
                if self._names_requests:
                    request_id = (b"x-request-id", record.request_id.encode())
                    message = {**message, "headers": [*message.get("headers", ()), request_id]}
            await send(message)

        active.inc()
        token = begin(record)
        # uvicorn starts a pipelined request in the context of the one before it, whose span would
        # be taken for its parent. https://github.com/python/cpython/issues/140947
        context = Context() if self._is_outermost else otel_context.get_current()
        span_token = otel_context.attach(context)
        try:
            await self._app(scope, receive, send_marked)
        finally:
            active.dec()
            with _GUARD:
                self._finish(record, scheme, record.seconds(answered or perf_counter()))
            otel_context.detach(span_token)
            end(token)

    def _begin(self, scope: Scope) -> RequestRecord:
        record = RequestRecord(
            method=bounded_method(scope["method"]),
            route=UNMATCHED,
            started=perf_counter(),
            request_id=uuid7(),
        )
        scope["firedrill.record"] = record
        with _GUARD:
            route = self._resolve(scope)
            scope["firedrill.route"] = route
            record.route = route.template
            _read_headers(record, scope["headers"])
        return record

    def _active_of(self, record: RequestRecord, scheme: str) -> Gauge:
        key = (record.method, scheme, record.route)
        child = self._actives.get(key)
        if child is None:
            child = self._actives[key] = self._active.labels(*key)
        return child

    def _finish(self, record: RequestRecord, scheme: str, seconds: float) -> None:
        # Nothing was sent: the server answers 500 in our name.
        record.status = status = record.status or 500
        key = (record.method, scheme, record.route, status)
        child = self._durations.get(key)
        if child is None:
            child = self._durations[key] = self._duration.labels(
                record.method, scheme, record.route, str(status), error_type_of(status)
            )
        child.observe(seconds, {"trace_id": record.trace_id} if record.keep else None)
        if record.disconnected:
            self._disconnects.inc()
        version = self._versions.label_of(record.client_version, authenticated=bool(record.caller))
        if version is not None:
            self._client_requests.labels(record.route, version, record.method, str(status)).inc()
            self._callers.note(record.route, record.method, record.caller, version, status)
        if record.shed:
            self._sample_shed(record)
        else:
            level = _LEVEL_OF_BLAME.get(record.blame, "error")
            getattr(self._log, level)("request_finished", **_canonical(record, seconds))

    def _sample_shed(self, record: RequestRecord) -> None:
        self._shed_since_sample += 1
        now = perf_counter()
        if now - self._shed_sampled_at < SHED_SAMPLE_SECONDS:
            return
        self._log.error(
            "shed_sample",
            method=record.method,
            status=record.status,
            code=record.code,
            shed=self._shed_since_sample,
        )
        self._shed_since_sample = 0
        self._shed_sampled_at = now


class SpanMarks:
    """Copies the request's end to its server span, when the answer starts."""

    def __init__(self, app: ASGIApp, *, keep: Keep) -> None:
        self._app = app
        self._keep = keep

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        record: RequestRecord = scope["firedrill.record"]
        span = trace.get_current_span()
        context = span.get_span_context()
        if context.is_valid:
            record.trace_id = trace.format_trace_id(context.trace_id)
            record.span_id = trace.format_span_id(context.span_id)
        marked = False

        async def send_marked(message: Message) -> None:
            nonlocal marked
            # After forwarding: the tracing middleware outside sets `error.type` to the status.
            await send(message)
            if message["type"] == "http.response.start":
                marked = True
                with _GUARD:
                    self._mark(span, record, message["status"])

        try:
            await self._app(scope, receive, send_marked)
        finally:
            if not marked:
                with _GUARD:
                    self._mark(span, record, 500)

    def _mark(self, span: trace.Span, record: RequestRecord, status: int) -> None:
        record.keep = self._keep.request(record, status)
        if not span.is_recording():
            return
        attributes: dict[str, str | bool] = {"firedrill.trace.keep": record.keep}
        if record.code:
            attributes["firedrill.failure.code"] = record.code
        if status >= 500:
            attributes["error.type"] = record.code or error_type_of(status)
            span.set_status(trace.Status(trace.StatusCode.ERROR, record.code or None))
        span.set_attributes(attributes)
        for item in record.validation_errors:
            span.add_event(
                "firedrill.validation_failed",
                {
                    "firedrill.validation.field": item["loc"],
                    "firedrill.validation.error_type": item["type"],
                },
            )


def _read_headers(record: RequestRecord, headers: list[tuple[bytes, bytes]]) -> None:
    for name, value in headers:
        if name == b"x-client-version":
            record.client_version = client_version_of(value.decode("latin-1"))
        elif name == b"x-load-run":
            record.load_run = load_run_of(value.decode("latin-1"))
        elif name == b"x-request-id":
            record.client_request_id = client_request_id_of(value.decode("latin-1"))


def _canonical(record: RequestRecord, seconds: float) -> dict[str, Any]:
    """Return the fields of `request_finished`; times in milliseconds, to the microsecond."""
    fields = {
        "method": record.method,
        "status": record.status,
        "duration_ms": round(seconds * 1000, 3),
        "code": record.code,
        "caller": record.caller,
        "token_format": record.token_format,
        "client_version": record.client_version,
        "body_ms": round(record.body_seconds * 1000, 3),
        "pool_wait_ms": round(record.pool_wait_seconds * 1000, 3),
        "db_ms": round(record.db_seconds * 1000, 3),
        "db_statements": record.db_statements,
        "upstream_ms": round(record.upstream_seconds * 1000, 3),
        "degraded": record.degraded,
    }
    if record.code:
        fields["cause"] = record.cause
    if record.client_request_id:
        fields["client_request_id"] = record.client_request_id
    if record.load_run:
        fields["load_run"] = record.load_run
    if record.disconnected:
        fields["disconnected"] = True
    # The fixed names win: a field of a layer must not be able to change what the line says.
    return {**record.fields, **fields}
