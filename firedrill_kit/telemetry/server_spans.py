"""The server span: OpenTelemetry's ASGI middleware, shown only what may be recorded.

The middleware records the query string and the caller's address, reads every header several times
and continues whatever trace a caller names. So it gets a scope of its own: no query, no address, a
short path, and of the headers the user agent, the length and, from trusted networks, `traceparent`.
The application behind it gets the scope as it came.
"""

import ipaddress
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware
from opentelemetry.metrics import NoOpMeterProvider
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from starlette.types import ASGIApp, Receive, Scope, Send

from firedrill_kit.telemetry.guard import guard
from firedrill_kit.telemetry.labels import OTHER_METHOD
from firedrill_kit.telemetry.record import RequestRecord

PATH_LENGTH_MAX = 256
USER_AGENT_LENGTH_MAX = 256

_ORIGINAL = "telemetry.scope"
_REMOTE = "telemetry.untrusted_parent"
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
            return any(address in network for network in parsed)

        self.contain = contain


def with_server_span(
    app: ASGIApp, *, provider: TracerProvider, trusted: TrustedNetworks
) -> ASGIApp:
    """Return the app inside exactly one server span per HTTP request."""

    async def restored(visible: Scope, receive: Receive, send: Send) -> None:
        await app(visible.pop(_ORIGINAL), receive, send)

    traced = OpenTelemetryMiddleware(
        restored,
        default_span_details=_span_details,
        server_request_hook=_link_untrusted_parent,
        tracer_provider=provider,
        # The metrics are ours (`http.py`); the middleware's would be one series per Host header.
        meter_provider=NoOpMeterProvider(),
        exclude_spans=["send", "receive"],
    )

    async def middleware(scope: Scope, receive: Receive, send: Send) -> None:
        visible: Scope = {}
        if scope["type"] == "http":
            with _GUARD:
                visible = _visible(scope, trusted)
        if not visible:
            await app(scope, receive, send)
            return
        try:
            await traced(visible, receive, send)
        except Exception:
            if _ORIGINAL not in visible:
                raise
            # The middleware failed before the application was reached.
            with _GUARD:
                raise
            await app(scope, receive, send)

    return middleware


def _visible(scope: Scope, trusted: TrustedNetworks) -> Scope:
    headers: list[tuple[bytes, bytes]] = []
    parents: list[bytes] = []
    for name, value in scope["headers"]:
        if name == b"user-agent":
            headers.append((name, value[:USER_AGENT_LENGTH_MAX]))
        elif name == b"traceparent":
            parents.append(value)
    visible: dict[str, Any] = {
        **scope,
        "path": scope["path"][:PATH_LENGTH_MAX],
        "query_string": b"",
        "client": None,
        "headers": headers,
        _ORIGINAL: scope,
    }
    # With more than one, nobody can tell which is meant: a new trace (W3C Trace Context §3.2.2).
    if len(parents) == 1:
        client = scope.get("client")
        if client is not None and trusted.contain(client[0]):
            headers.append((b"traceparent", parents[0]))
        else:
            visible[_REMOTE] = parents[0]
    return visible


@lru_cache(maxsize=512)
def _span_name(method: str, route: str) -> str:
    return f"{'HTTP' if method == OTHER_METHOD else method} {route}"


def _span_details(visible: Scope) -> tuple[str, dict[str, str]]:
    record: RequestRecord = visible["firedrill.record"]
    attributes = {"http.route": record.route, "firedrill.request_id": record.request_id}
    # The middleware's own has the port in it, which is in `server.port`.
    if server := visible.get("server"):
        attributes["server.address"] = server[0]
    if record.load_run:
        attributes["firedrill.load_run"] = record.load_run
    return _span_name(record.method, record.route), attributes


def _link_untrusted_parent(span: trace.Span, visible: Scope) -> None:
    parent = visible.get(_REMOTE)
    if parent is None:
        return
    carrier = {"traceparent": parent.decode("latin-1")}
    remote = trace.get_current_span(
        _TRACE_CONTEXT.extract(carrier, context=Context())
    ).get_span_context()
    if remote.is_valid:
        span.add_link(remote)
