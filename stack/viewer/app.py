"""The viewer's HTTP: OTLP in, traces out, its pages, its own metrics."""

import asyncio
import contextlib
import re
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

import httpx
import structlog
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsPartialSuccess,
    ExportLogsServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTracePartialSuccess,
    ExportTraceServiceResponse,
)
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from stack.runbooks import Runbooks
from stack.serving import metrics_route
from stack.viewer import pages
from stack.viewer.logs import LogReader
from stack.viewer.otlp import NotOtlp, TooLarge, read_spans, said, unpack
from stack.viewer.otlp_logs import read_lines
from stack.viewer.store import Search, TraceStore
from stack.viewer.traces import Signals, Traces

BODY_BYTES = 20 * 1024 * 1024
"""What the collector's own receiver takes, packed or not. A batch of 512 spans is under 1 MiB; but one that
is refused as a whole is lost with all that is good in it."""
READ_LOGS_SECONDS = 0.5
SWEEP_SECONDS = 5.0
PROTOBUF = "application/x-protobuf"
HOSTS = ["127.0.0.1", "localhost"]
"""Names we answer to: a page of another origin that points its own name at loopback is refused."""
_TRACE_ID = re.compile(r"[0-9a-f]{32}")
_log = structlog.get_logger("viewer")


def create_app(
    store_file: Path,
    logs: Path | None,
    *,
    prometheus: str = "http://127.0.0.1:9090",
    alertmanager: str = "http://127.0.0.1:9093",
    dashboards: Path = pages.DASHBOARDS,
    runbooks: Runbooks | None = None,
    hosts: Sequence[str] = (),
    clock: Callable[[], float] = time.time,
) -> Starlette:
    """The viewer.

    logs: directory whose *.jsonl are read; None where a collector sends them. prometheus,
    alertmanager: where the pages read. dashboards: folder of what is shown. runbooks: those of every alert
    when None. hosts: further names it answers to. clock: seconds since the
    epoch.
    """
    signals = Signals()

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        store_file.parent.mkdir(parents=True, exist_ok=True)
        store = TraceStore(store_file)
        traces = Traces(store, signals)
        app.state.store, app.state.traces = store, traces
        tasks = [asyncio.create_task(_sweep(traces, clock))]
        if logs is not None:
            tasks.append(asyncio.create_task(_read_logs(LogReader(logs), traces, clock)))
        app.state.prometheus = httpx.AsyncClient(base_url=prometheus, timeout=pages.ASK_SECONDS)
        app.state.alertmanager = httpx.AsyncClient(base_url=alertmanager, timeout=3.0)
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await app.state.prometheus.aclose()
            await app.state.alertmanager.aclose()
            store.close()

    app = Starlette(
        routes=[
            Route("/v1/traces", _receive_spans, methods=["POST"]),
            Route("/v1/logs", _receive_lines, methods=["POST"]),
            Route("/api/traces", _latest),
            Route("/api/traces/{trace_id}", _one),
            metrics_route(signals.registry),
            Route("/healthz", _healthy),
            *pages.routes(),
        ],
        middleware=[
            Middleware(pages.SafeHeaders),
            Middleware(TrustedHostMiddleware, allowed_hosts=[*HOSTS, *hosts]),
        ],
        exception_handlers={sqlite3.Error: _unavailable},
        lifespan=lifespan,
    )
    app.state.signals, app.state.clock = signals, clock
    app.state.dashboards, app.state.runbooks = dashboards, runbooks or Runbooks()
    return app


async def _receive_spans(request: Request) -> Response:
    return await _receive(request, _take_spans)


async def _receive_lines(request: Request) -> Response:
    return await _receive(request, _take_lines)


def _take_spans(traces: Traces, body: bytes, now: float) -> bytes:
    spans, refused = read_spans(body)
    traces.take_spans(spans, now, refused)
    if not refused:
        return b""  # an answer without fields
    partial = ExportTracePartialSuccess(
        rejected_spans=refused.total(), error_message=said(refused)
    )
    return bytes(ExportTraceServiceResponse(partial_success=partial).SerializeToString())


def _take_lines(traces: Traces, body: bytes, now: float) -> bytes:
    lines, refused = read_lines(body)
    traces.take_lines(lines, now, refused)
    if not refused:
        return b""
    partial = ExportLogsPartialSuccess(
        rejected_log_records=refused.total(), error_message=said(refused)
    )
    return bytes(ExportLogsServiceResponse(partial_success=partial).SerializeToString())


async def _receive(request: Request, take: Callable[[Traces, bytes, float], bytes]) -> Response:
    if request.headers.get("content-type", "").partition(";")[0].strip() != PROTOBUF:
        return _refuse(request, "media_type", 415, f"send {PROTOBUF}")
    try:
        packed = await _body(request)
        encoding = request.headers.get("content-encoding", "").strip().lower()
        body = unpack(packed, encoding, BODY_BYTES)
        answer = take(request.app.state.traces, body, request.app.state.clock())
    except NotOtlp as error:
        return _refuse(request, "not_otlp", 400, str(error))
    except TooLarge:
        return _refuse(request, "too_large", 413, f"at most {BODY_BYTES} bytes")
    return Response(answer, media_type=PROTOBUF)


async def _one(request: Request) -> Response:
    trace_id = request.path_params["trace_id"]
    if not _TRACE_ID.fullmatch(trace_id) or trace_id == "0" * 32:
        return _error(400, "a trace id is 32 lower-case hexadecimal digits, not all zero")
    trace = request.app.state.store.trace(trace_id)
    if trace is None:
        whereabouts = request.app.state.traces.whereabouts(trace_id)
        return JSONResponse(
            {"error": whereabouts.value, "state": whereabouts.name.lower()}, status_code=404
        )
    return JSONResponse(trace)


async def _latest(request: Request) -> Response:
    """The traces kept last, or those of them that a search asks for: see Search."""
    try:
        search = Search.read(request.query_params)
    except ValueError as error:
        return _error(400, str(error))
    return JSONResponse({"traces": request.app.state.store.latest(search)})


async def _healthy(_: Request) -> Response:
    return PlainTextResponse("ok\n")


async def _unavailable(_: Request, error: Exception) -> Response:
    """The disk is full or gone: 503 is what an exporter retries."""
    _log.error("store_failed", error_type=type(error).__name__)
    return _error(503, "the store cannot be used now")


async def _body(request: Request) -> bytes:
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > BODY_BYTES:
            raise TooLarge
    return bytes(body)


async def _read_logs(reader: LogReader, traces: Traces, clock: Callable[[], float]) -> None:
    while True:
        try:
            for lines in reader.new_lines():
                traces.take_lines(lines, clock())
                await asyncio.sleep(0)  # requests go on between two pieces
        except (OSError, sqlite3.Error) as error:
            _log.error("logs_not_read", error_type=type(error).__name__)
        await asyncio.sleep(READ_LOGS_SECONDS)


async def _sweep(traces: Traces, clock: Callable[[], float]) -> None:
    while True:
        await asyncio.sleep(SWEEP_SECONDS)
        try:
            traces.sweep(clock())
        except sqlite3.Error as error:
            _log.error("sweep_failed", error_type=type(error).__name__)


def _refuse(request: Request, why: str, status: int, detail: str) -> Response:
    request.app.state.signals.refused.labels(why).inc()
    return _error(status, detail)


def _error(status: int, detail: str) -> Response:
    return JSONResponse({"error": detail}, status_code=status)
