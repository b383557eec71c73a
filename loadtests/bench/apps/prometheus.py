"""Metrics only: the two exporters that FastAPI applications use most, as their READMEs say."""

from fastapi import FastAPI
from prometheus_client import REGISTRY
from prometheus_fastapi_instrumentator import Instrumentator
from starlette_exporter import PrometheusMiddleware, handle_metrics

from loadtests.bench.apps.application import application
from loadtests.bench.apps.series import add_series


def instrumentator() -> FastAPI:
    app = application().app
    Instrumentator().instrument(app).expose(app)
    add_series(REGISTRY)
    return app


def starlette_exporter() -> FastAPI:
    app = application().app
    app.add_middleware(PrometheusMiddleware)
    app.add_route("/metrics", handle_metrics)
    return app
