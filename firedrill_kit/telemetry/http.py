"""`Edge`, the outermost middleware, sees each request and is the only one that wraps its `send`.

It turns what the layers inside wrote into the request's record into the histogram sample, the canonical log
line and the counters, writes the end of the request to its span when the answer starts, and ends the span
when the last of the body has been sent. Each further wrapper of `send` costs 1 µs a message.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from time import perf_counter
from typing import Any, Protocol

import structlog
from opentelemetry import context as otel_context
from opentelemetry.context import Context
from prometheus_client import Counter, Gauge, Histogram
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from structlog.typing import FilteringBoundLogger

from firedrill_kit.telemetry.callers import RecentCallers
from firedrill_kit.telemetry.canonical import CanonicalLine
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
from firedrill_kit.telemetry.logs import Lines
from firedrill_kit.telemetry.marks import mark
from firedrill_kit.telemetry.record import RequestRecord, begin, end

SHED_SAMPLE_SECONDS = 1.0
"""In an overload one line a second says what happens; the counters say how often."""

_GUARD = guard("http")
_TRACES_GUARD = guard("traces")
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
    names_requests: whether `X-Request-Id` is added to every answer. keep: which traces are kept.
    on_status: called with the status before the span is marked. log, lines: where its lines go.
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
        keep: Keep,
        on_status: Callable[[RequestRecord, int], None] | None = None,
        client_versions: ClientVersions | None = None,
        names_requests: bool = True,
        is_outermost: bool = True,
        log: FilteringBoundLogger | None = None,
        lines: Lines | None = None,
    ) -> None:
        self._app = app
        self._keep = keep
        self._on_status = on_status
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
        self._write_line = CanonicalLine(self._log, lines)
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
        ends_with_body = True

        async def send_marked(message: Message) -> None:
            nonlocal answered, ends_with_body
            if message["type"] == "http.response.start":
                # The whole answer is there by now; how fast it is taken is the caller's doing.
                answered = perf_counter()
                status = record.status = message["status"]
                ends_with_body = not message.get("trailers")
                if self._names_requests:
                    request_id = (b"x-request-id", record.request_id.encode())
                    message = {**message, "headers": [*message.get("headers", ()), request_id]}
                await send(message)
                # After forwarding: the official middleware outside sets `error.type` to the status.
                self._mark(record, status)
                return
            await send(message)
            if record.ends_span and ends_with_body and not message.get("more_body"):
                self._end_span(record)

        active.inc()
        token = begin(record)
        # uvicorn starts a pipelined request in the context of the one before it, whose span would
        # be taken for its parent. https://github.com/python/cpython/issues/140947
        span_token = otel_context.attach(Context()) if self._is_outermost else None
        try:
            await self._app(scope, receive, send_marked)
        finally:
            active.dec()
            with _GUARD:
                self._finish(record, scheme, record.seconds(answered or perf_counter()))
            if span_token is not None:
                otel_context.detach(span_token)
            end(token)

    def _mark(self, record: RequestRecord, status: int) -> None:
        try:
            if self._on_status is not None:
                self._on_status(record, status)
            mark(record, status, self._keep)
        except Exception:
            with _GUARD:
                raise

    @staticmethod
    def _end_span(record: RequestRecord) -> None:
        record.ends_span = False
        try:
            if record.span is not None:
                record.span.end()
        except Exception:
            with _TRACES_GUARD:
                raise

    def _begin(self, scope: Scope) -> RequestRecord:
        record = RequestRecord(
            method=bounded_method(scope["method"]),
            route=UNMATCHED,
            started=perf_counter(),
            request_id=uuid7(),
        )
        scope["firedrill.record"] = record
        try:
            route = self._resolve(scope)
            scope["firedrill.route"] = route
            record.route = route.template
            for name, value in scope["headers"]:
                if name in _READ:  # most are not
                    _READ[name](record, value)
        except Exception:
            with _GUARD:
                raise
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
            self._write_line(_LEVEL_OF_BLAME.get(record.blame, "error"), record, seconds)

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


def _read_client_version(record: RequestRecord, value: bytes) -> None:
    record.client_version = client_version_of(value.decode("latin-1"))


def _read_load_run(record: RequestRecord, value: bytes) -> None:
    record.load_run = load_run_of(value.decode("latin-1"))


def _read_request_id(record: RequestRecord, value: bytes) -> None:
    record.client_request_id = client_request_id_of(value.decode("latin-1"))


def _read_user_agent(record: RequestRecord, value: bytes) -> None:
    record.user_agent = record.user_agent or value


def _read_parent(record: RequestRecord, value: bytes) -> None:
    record.parents = (*record.parents, value)


_READ = {
    b"x-client-version": _read_client_version,
    b"x-load-run": _read_load_run,
    b"x-request-id": _read_request_id,
    b"user-agent": _read_user_agent,
    b"traceparent": _read_parent,
}
