"""A telemetry of its own for one test: fresh instruments, captured lines, captured spans."""

import json
import logging
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import structlog
from opentelemetry.sdk.trace import ReadableSpan
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from firedrill_kit.telemetry import logs, traces
from firedrill_kit.telemetry.callers import RecentCallers
from firedrill_kit.telemetry.http import Edge
from firedrill_kit.telemetry.keep import Keep
from firedrill_kit.telemetry.record import RequestRecord
from firedrill_kit.telemetry.traces import Tracing

Handler = Callable[[RequestRecord, Send], Awaitable[None]]


@dataclass(frozen=True)
class Template:
    template: str


class Instruments:
    """Fresh ones, shaped as the catalogue's."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.duration = Histogram(
            "duration_seconds",
            "d",
            ["method", "scheme", "route", "status", "error_type"],
            registry=self.registry,
        )
        self.active = Gauge("active", "d", ["method", "scheme", "route"], registry=self.registry)
        self.clients = Counter(
            "clients", "d", ["route", "version", "method", "status"], registry=self.registry
        )
        self.callers = RecentCallers()
        self.disconnects = Counter("disconnects", "d", registry=self.registry)
        self.records = Counter("records", "d", ["level", "result"], registry=self.registry)
        self.spans = Counter("spans", "d", ["result"], registry=self.registry)
        self.queued = Gauge("queued", "d", registry=self.registry)
        self.capacity = Gauge("capacity", "d", registry=self.registry)

    def value(self, name: str, **labels: str) -> float:
        """Return the sum of the samples with these labels, whatever their others are."""
        return sum(
            sample.value
            for family in self.registry.collect()
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )


@dataclass
class Telemetry:
    """What a test reads."""

    instruments: Instruments
    tracing: Tracing
    writer: Any
    written: list[bytes] = field(default_factory=list)
    ended: list[ReadableSpan] = field(default_factory=list)

    def lines(self) -> list[dict[str, Any]]:
        """Every line logged so far; ends the logging."""
        self.writer.stop()
        return [json.loads(line) for line in b"".join(self.written).splitlines()]

    def line(self, event: str) -> dict[str, Any]:
        (only,) = [line for line in self.lines() if line["event"] == event]
        return only


@contextmanager
def telemetry(*, base_ratio: float = 0.0, level: str = "debug") -> Iterator[Telemetry]:
    """Telemetry as in production, writing to memory; what was there before is put back."""
    with restored():
        yield from _telemetry(base_ratio=base_ratio, level=level)


@contextmanager
def restored() -> Iterator[None]:
    """Put back the process's logging and tracing: a service of the session may be using them."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    structured = structlog.get_config()
    tracing = traces._current
    try:
        yield
    finally:
        traces._current = tracing
        structlog.configure(**structured)
        root.handlers[:] = handlers
        root.setLevel(level)


def _telemetry(*, base_ratio: float, level: str) -> Iterator[Telemetry]:
    instruments = Instruments()
    written: list[bytes] = []

    def write(data: bytes) -> int:
        written.append(data)
        return len(data)

    writer = logs.configure(
        service="api",
        version="1.2.3",
        instance="127.0.0.1:8000",
        environment="test",
        level=level,
        format_="json",
        capacity=1000,
        records=instruments.records,
        write=write,
    ).writer
    tracing = tracing_of(instruments, base_ratio=base_ratio)
    seen = Telemetry(instruments, tracing, writer, written)
    tracing.tap.watchers.append(seen.ended.append)
    try:
        yield seen
    finally:
        writer.stop()
        tracing.stop()


def tracing_of(
    instruments: Instruments,
    *,
    base_ratio: float = 0.0,
    endpoint: str = "",
    queue_spans: int = 100,
    timeout_seconds: float = 1.0,
) -> Tracing:
    return traces.start_tracing(
        endpoint=endpoint,
        service="api",
        version="1.2.3",
        instance="127.0.0.1:8000",
        environment="test",
        keep=Keep(base_ratio=base_ratio),
        trusted_networks=["127.0.0.0/8", "::1/128"],
        queue_spans=queue_spans,
        timeout_seconds=timeout_seconds,
        spans=instruments.spans,
        queued=instruments.queued,
        queue_capacity=instruments.capacity,
    )


def application(handler: Handler) -> ASGIApp:
    """An application that answers by calling `handler`."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await handler(scope["firedrill.record"], send)

    return app


def stack(seen: Telemetry, app: ASGIApp, *, route: str = "/things/{thing_id}") -> Edge:
    """The middlewares in the order of production."""
    instruments = seen.instruments
    return Edge(
        seen.tracing.asgi(app),
        resolve=lambda _scope: Template(route),
        scheme="https",
        duration=instruments.duration,
        active=instruments.active,
        client_requests=instruments.clients,
        callers=instruments.callers,
        disconnects=instruments.disconnects,
        keep=seen.tracing.keep,
    )


async def answer(send: Send, status: int = 200) -> None:
    await send({"type": "http.response.start", "status": status, "headers": []})
    await send({"type": "http.response.body", "body": b"{}"})


async def request(
    app: ASGIApp,
    *,
    method: str = "GET",
    path: str = "/things/7",
    query: bytes = b"",
    headers: Sequence[tuple[bytes, bytes]] = (),
    client: tuple[str, int] | None = ("127.0.0.1", 50000),
) -> list[Message]:
    """Send one request; return what was sent back."""
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    scope: Scope = {
        "type": "http",
        "http_version": "1.1",
        "scheme": "http",
        "method": method,
        "path": path,
        "query_string": query,
        "headers": list(headers),
        "client": client,
        "server": ("127.0.0.1", 8000),
    }
    await app(scope, receive, send)
    return sent


def attributes_of(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})
