"""The fast path against OpenTelemetry's own instrumentations and SDK: the OTLP of both, span by span.

What differs, and why: ids, times and the instrumentation scope are never the same. Lower-case methods are
`_OTHER` here, as in the metric, and known there. A request that no route takes has the route `__unmatched__`,
so that span and metric can be joined; the official way has none, and is given it. An exception is recorded
by what sees it: FastAPIInstrumentor's own middleware, or the kit's `FailureMarks` (`Recording`).
"""

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from fastapi import FastAPI, HTTPException
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from sqlalchemy import create_engine, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import StaticPool
from starlette.types import ASGIApp, Receive, Scope, Send

from firedrill_kit.routes import RouteTable, routes_of
from firedrill_kit.telemetry.export import Tap
from firedrill_kit.telemetry.traces import span
from tests.integration.test_telemetry_export import Collector
from tests.spans import spelled
from tests.unit.telemetry.instruments import (
    Instruments,
    Telemetry,
    request,
    restored,
    stack,
    tracing_of,
)


@pytest.fixture
def collector() -> Iterator[Collector]:
    running = Collector()
    yield running
    running.close()


class Recording:
    """Right inside Starlette's, as `FailureMarks`."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._app(scope, receive, send)
        except Exception as error:
            scope["firedrill.record"].span.record_exception(error)
            raise


def shop() -> tuple[FastAPI, Any]:
    app = FastAPI(telemetry={"tracing": False, "metrics": False, "logs": False})
    engine = create_engine(
        "sqlite://", poolclass=StaticPool, connect_args={"check_same_thread": False}
    )

    @app.get("/items/{number}")
    async def item(number: int) -> int:
        with (
            engine.connect() as connection,
            span("calendar.sync", {"firedrill.calendar.events": number}),
        ):
            connection.execute(text("SELECT name FROM sqlite_master WHERE name = 'secret'"))
            connection.execute(text("SELECT :secret"), [{"secret": "x"}])
        return number

    @app.get("/wrong")
    async def wrong() -> None:
        with engine.connect() as connection:
            try:
                connection.execute(text("SELECT 1 FROM missing"))
            except OperationalError:
                raise HTTPException(503) from None

    @app.get("/broken")
    async def broken() -> None:
        raise KeyError

    return app, engine


PARENT = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
ASKED: tuple[dict[str, Any], ...] = (
    {"path": "/items/7", "query": b"secret=1"},
    {"path": "/items/x"},
    {"path": "/wrong", "headers": [(b"user-agent", "bot \xe9".encode())]},
    {"path": "/broken"},
    {"path": "/items/7", "method": "POST"},
    {"path": "/items/8", "headers": [(b"traceparent", PARENT)]},
    {"path": "/items/9", "headers": [(b"traceparent", PARENT)], "client": ("192.0.2.1", 1)},
    {"path": "/items/9", "method": "EVIL"},
)


def asked(way: str, collector: Collector, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Every request of ASKED through an application; its spans as trees."""
    monkeypatch.setenv("TELEMETRY_INSTRUMENTATION", way)
    # The conventions of the service have no event for an exception: its own answers them all.
    monkeypatch.setattr(Tap, "everywhere", [])
    with restored():
        instruments = Instruments()
        tracing = tracing_of(
            instruments, endpoint=collector.endpoint, queue_spans=500, timeout_seconds=20
        )
        seen = Telemetry(instruments, tracing, None)
        app, engine = shop()
        assert tracing.instrument_engine(engine) is not None
        if way == "fast":  # as the kit does where FastAPIInstrumentor has a middleware of its own
            app.add_middleware(Recording)
        # The official middleware is put into the application once: one stack, whose route is the request's.
        table = RouteTable(routes_of(app))
        instrumented = stack(seen, app)
        instrumented._resolve = lambda scope: table.resolve(scope["method"], scope["path"])
        for one in ASKED:
            with suppress(KeyError):
                asyncio.run(request(instrumented, **one))
        assert tracing.stop(30)
    found = trees(collector.spans)
    collector.spans.clear()
    return found


def trees(spans: list[Span]) -> list[Any]:
    """Requests in their order, each span with the spans below it."""
    below: dict[bytes, list[Span]] = {}
    for one in spans:
        below.setdefault(one.parent_span_id, []).append(one)

    def tree(one: Span) -> Any:
        mine = spelled(one)
        mine["attributes"].pop("firedrill.request_id", None)
        children = sorted(below.get(one.span_id, []), key=lambda span: span.start_time_unix_nano)
        return mine, [tree(child) for child in children]

    servers = [one for one in spans if one.kind == Span.SPAN_KIND_SERVER]
    return [tree(one) for one in sorted(servers, key=lambda span: span.start_time_unix_nano)]


def test_requests_and_their_failures_leave_the_same_spans_either_way(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    official = asked("contrib", collector, monkeypatch)
    ours = asked("fast", collector, monkeypatch)

    assert len(ours) == len(ASKED)
    for mine, theirs in zip(ours, official, strict=True):
        assert mine == theirs
