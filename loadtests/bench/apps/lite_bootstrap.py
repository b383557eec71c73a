"""lite-bootstrap with all that it offers of telemetry, its access line included."""

import os

from fastapi import FastAPI
from lite_bootstrap import FastAPIBootstrapper, FastAPIConfig
from lite_bootstrap.instruments.opentelemetry_instrument import InstrumentorWithParams
from opentelemetry.instrumentation.sqlalchemy import SQLAlchemyInstrumentor

from loadtests.bench.apps.application import application


def everything() -> FastAPI:
    made = application()
    sqlalchemy = InstrumentorWithParams(
        instrumentor=SQLAlchemyInstrumentor(),
        # It declares `sqlalchemy < 2.1` and would do nothing; with the check off it works.
        additional_params={"engine": made.engine.sync_engine, "skip_dep_check": True},
    )
    config = FastAPIConfig(
        application=made.app,
        service_name="bench",
        opentelemetry_endpoint=f"{os.environ['OTEL_EXPORTER_OTLP_ENDPOINT']}/v1/traces",
        opentelemetry_exporter_protocol="http",
        opentelemetry_instrumentors=[sqlalchemy],
        fastapi_logging_middleware_enabled=True,
    )
    app: FastAPI = FastAPIBootstrapper(config).bootstrap()
    return app
