"""OpenTelemetry's SDK as its documentation sets it up, and what is put around it in practice."""

import logging
import sys
import time
from collections.abc import Awaitable, Callable

import structlog
from fastapi import FastAPI, Request, Response
from opentelemetry import metrics, trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.instrumentation.asyncpg import AsyncPGInstrumentor
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
from opentelemetry.instrumentation.sqlalchemy import SQLAlchemyInstrumentor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from prometheus_fastapi_instrumentator import Instrumentator
from sqlalchemy.ext.asyncio import AsyncEngine

from loadtests.bench.apps.application import application


def typical() -> FastAPI:
    """Contrib for FastAPI, SQLAlchemy and asyncpg, prometheus-fastapi-instrumentator, structlog."""
    _export_spans()
    made = application()
    FastAPIInstrumentor.instrument_app(made.app)
    _instrument_sqlalchemy(made.engine)
    AsyncPGInstrumentor().instrument()
    Instrumentator().instrument(made.app).expose(made.app)
    _log_requests(made.app)
    return made.app


def native() -> FastAPI:
    """FastAPI's own spans, one a request, and the SDK's metrics; contrib for SQLAlchemy, structlog."""
    _export_spans()
    metrics.set_meter_provider(MeterProvider(metric_readers=[PrometheusMetricReader()]))
    made = application(telemetry={"operation_spans": False})
    _instrument_sqlalchemy(made.engine)

    @made.app.get("/metrics")
    async def expose() -> Response:
        return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)

    _log_requests(made.app)
    return made.app


def _export_spans() -> None:
    # The endpoint is in the environment.
    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)


def _instrument_sqlalchemy(engine: AsyncEngine) -> None:
    # It declares `sqlalchemy < 2.1` and would do nothing; with the check off it works.
    SQLAlchemyInstrumentor().instrument(engine=engine.sync_engine, skip_dep_check=True)


def _log_requests(app: FastAPI) -> None:
    """A line of JSON for each request, on structlog's documented way through the standard library."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        _add_trace,
        structlog.processors.TimeStamper(fmt="iso"),
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    log = structlog.stdlib.get_logger("access")

    @app.middleware("http")
    async def access(
        request: Request, call_next: Callable[[Request], Awaitable[Response]]
    ) -> Response:
        started = time.perf_counter()
        response = await call_next(request)
        log.info(
            "request",
            method=request.method,
            path=request.url.path,
            status=response.status_code,
            seconds=time.perf_counter() - started,
        )
        return response


def _add_trace(
    _: object, __: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    context = trace.get_current_span().get_span_context()
    if context.is_valid:
        event["trace_id"] = f"{context.trace_id:032x}"
        event["span_id"] = f"{context.span_id:016x}"
    return event
