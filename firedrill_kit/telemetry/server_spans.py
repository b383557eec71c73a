"""The server span of a request, from the record that `Edge` made of it.

It says what may be recorded and nothing else: no query, no address of the caller, a short path. `Edge` ends
it when the last of the body has been sent, so that no `send` has to be wrapped here (1 µs a message).
"""

import ipaddress
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import INVALID_SPAN, NonRecordingSpan, SpanContext, SpanKind
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.util.types import AttributeValue
from starlette.types import ASGIApp, Receive, Scope, Send

from firedrill_kit.telemetry.guard import guard
from firedrill_kit.telemetry.keep import Keep
from firedrill_kit.telemetry.labels import OTHER_METHOD
from firedrill_kit.telemetry.marks import mark
from firedrill_kit.telemetry.otlp import Template
from firedrill_kit.telemetry.provider import RecordingTracer
from firedrill_kit.telemetry.record import RequestRecord
from firedrill_kit.telemetry.spans import RecordedSpan

try:
    from opentelemetry.util.http import detect_synthetic_user_agent
except ImportError:  # before 0.56b0: no caller is known to be synthetic

    def detect_synthetic_user_agent(user_agent: str | None) -> str | None:  # noqa: ARG001
        return None


SCOPE = "firedrill.asgi"
PATH_LENGTH_MAX = 256
USER_AGENT_LENGTH_MAX = 256

_TRACE_CONTEXT = TraceContextTextMapPropagator()
_GUARD = guard("traces")


class TrustedNetworks:
    """Networks whose `traceparent` is continued."""

    def __init__(self, networks: Sequence[str]) -> None:
        parsed = [ipaddress.ip_network(network) for network in networks]

        @lru_cache(maxsize=1024)
        def contain(host: str) -> bool:
            try:
                address = ipaddress.ip_address(host)
            except ValueError:
                return False
            # What a socket of IPv6 calls an address of IPv4: ::ffff:10.0.0.1
            address = getattr(address, "ipv4_mapped", None) or address
            return any(address in network for network in parsed)

        self.contain = contain


class ServerSpans:
    """ASGI middleware: one server span per HTTP request; `scope["firedrill.record"]` must be there."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        provider: trace.TracerProvider,
        trusted: TrustedNetworks,
        keep: Keep,
        joins_running: bool,
    ) -> None:
        """joins_running: whether a span that runs already is the request's server span."""
        self._joins_running = joins_running
        self._app = app
        self._tracer = provider.get_tracer(SCOPE)
        self._trusted = trusted
        self._keep = keep
        self._constant = lru_cache(maxsize=512)(self._constant_of)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        record: RequestRecord | None = scope.get("firedrill.record")
        if record is None or scope["type"] != "http" or not self._begin(scope, record):
            await self._app(scope, receive, send)
            return
        span: Any = record.span
        token = otel_context.attach(trace.set_span_in_context(span))
        try:
            await self._app(scope, receive, send)
        except BaseException as error:
            if not record.status and span.is_recording():
                with _GUARD:
                    mark(record, 500, self._keep)
                    if isinstance(error, Exception):
                        span.record_exception(error)
            raise
        finally:
            otel_context.detach(token)
            if record.ends_span:  # nothing was sent, or not to its end
                record.ends_span = False
                with _GUARD:
                    span.end()

    def _begin(self, scope: Scope, record: RequestRecord) -> bool:
        """Give the record a span; False when the running span is not our own."""
        try:
            if self._joins_running:
                running = trace.get_current_span()
                # uvicorn starts a pipelined request in the context of the one before it, whose span has
                # ended by then. https://github.com/python/cpython/issues/140947
                has_ended = getattr(running, "end_time", None) is not None
                if running.get_span_context().is_valid and not has_ended:
                    record.span = running
                    name_trace(record, running)
                    return False
            record.span = self._start(scope, record)
            record.ends_span = True
            name_trace(record, record.span)
        except Exception:
            record.span = None
            with _GUARD:
                raise
            return False
        return True

    def _start(self, scope: Scope, record: RequestRecord) -> trace.Span:
        parent, links = self._caused_by(scope, record)
        server = scope.get("server")
        name, constant, template = self._constant(
            scope["method"],
            record.method,
            record.route,
            scope.get("scheme"),
            scope.get("http_version"),
            # Some servers give a list.
            (server[0], server[1]) if server else None,
        )
        own: dict[str, Any] = {
            "url.path": scope["path"][:PATH_LENGTH_MAX],
            "firedrill.request_id": record.request_id,
        }
        if record.user_agent:
            own |= _of_user_agent(record.user_agent[:USER_AGENT_LENGTH_MAX])
        if record.load_run:
            own["firedrill.load_run"] = record.load_run
        tracer: Any = self._tracer
        span: trace.Span
        if template is not None:
            span = RecordedSpan(tracer, template, parent, own)
        else:
            context = trace.set_span_in_context(parent, Context())
            span = tracer.start_span(name, context, SpanKind.SERVER, {**constant, **own})
        for link in links:
            span.add_link(link)
        return span

    def _caused_by(
        self, scope: Scope, record: RequestRecord
    ) -> tuple[trace.Span, tuple[SpanContext, ...]]:
        """Return the parent, and what is only linked: the span of a caller from no trusted network."""
        # With more than one, nobody can tell which is meant: a new trace (W3C Trace Context §3.2.2).
        if len(record.parents) != 1:
            return INVALID_SPAN, ()
        carrier = {"traceparent": record.parents[0].decode("latin-1")}
        remote = trace.get_current_span(
            _TRACE_CONTEXT.extract(carrier, context=Context())
        ).get_span_context()
        if not remote.is_valid:
            return INVALID_SPAN, ()
        client = scope.get("client")
        if client is not None and self._trusted.contain(client[0]):
            return NonRecordingSpan(remote), ()
        return INVALID_SPAN, (remote,)

    def _constant_of(  # noqa: PLR0917 - the key of a cache
        self,
        original_method: str,
        method: str,
        route: str,
        scheme: str | None,
        version: str | None,
        server: tuple[str, int | None] | None,
    ) -> tuple[str, Mapping[str, AttributeValue], Template | None]:
        """Return name and attributes of all requests that have these in common."""
        found = {
            "http.request.method": method,
            "http.request.method_original": None if method == original_method else original_method,
            "http.route": route,
            "url.scheme": scheme,
            "network.protocol.version": version,
            "server.address": server and server[0],
            "server.port": server and server[1],
        }
        attributes = {key: value for key, value in found.items() if value}
        name = span_name(method, route)
        if isinstance(self._tracer, RecordingTracer):
            return name, attributes, self._tracer.template(name, SpanKind.SERVER, attributes)
        return name, attributes, None


def span_name(method: str, route: str) -> str:
    return f"{'HTTP' if method == OTHER_METHOD else method} {route}"


def name_trace(record: RequestRecord, span: trace.Span) -> None:
    """Write the ids of the span into the record."""
    if isinstance(span, RecordedSpan):
        record.trace_id, record.span_id = span.trace_id.hex(), span.span_id.hex()
        return
    context = span.get_span_context()
    if context.is_valid:
        record.trace_id = trace.format_trace_id(context.trace_id)
        record.span_id = trace.format_span_id(context.span_id)


@lru_cache(maxsize=1024)
def _of_user_agent(header: bytes) -> dict[str, str]:
    agent = header.decode("utf-8", "replace")
    kind = detect_synthetic_user_agent(agent)
    found = {"user_agent.original": agent} if agent else {}
    return found | ({"user_agent.synthetic.type": kind} if kind else {})
