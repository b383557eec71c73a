"""`instrument(app, engine=engine)`: everything that the kit does for an application, put in place.

Two layers see a request: one outside of all that the application adds, and one right inside Starlette's
ServerErrorMiddleware, where exceptions still have their type. Both are put there when Starlette builds its
stack, before the first request, so that middlewares may be added after the call. Threads and ports begin
with the server's lifespan, or with the first request, and never at the import of the application.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

from fastapi import FastAPI
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from sqlalchemy import Engine
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Receive, Scope, Send
from structlog.typing import FilteringBoundLogger

from firedrill_kit import endpoint, metrics
from firedrill_kit.failures import FailureMarks, create_counters, note_status
from firedrill_kit.pool import PoolMeter, measure_pool
from firedrill_kit.routes import Route, RouteTable, path_of, routes_of
from firedrill_kit.settings import (
    Settings,
    SettingsError,
    described_settings,
    is_disabled,
    settings_of,
)
from firedrill_kit.statements import count_transactions, measure_statements
from firedrill_kit.telemetry import guard, logs
from firedrill_kit.telemetry.callers import RecentCallers
from firedrill_kit.telemetry.describe import describe
from firedrill_kit.telemetry.http import Edge
from firedrill_kit.telemetry.keep import Keep
from firedrill_kit.telemetry.loop import LoopMonitor
from firedrill_kit.telemetry.redaction import mask
from firedrill_kit.telemetry.traces import Tracing, start_tracing
from firedrill_kit.validation import SeenErrors

if TYPE_CHECKING:
    # Without greenlet, as a synchronous application has it, this cannot be imported.
    from sqlalchemy.ext.asyncio import AsyncEngine

AnyEngine: TypeAlias = "Engine | AsyncEngine"
POOL = "app"
"""The name of the pool of an application with one engine."""
LINES_MAX = 10_000
"""Lines that may wait for a reader of stdout: about 5 MB."""
EXPORT_SECONDS = 5.0
"""For one export of spans, attempts included."""

_log = logging.getLogger("firedrill_kit")


def instrument(
    app: FastAPI,
    *,
    engine: AnyEngine | Mapping[str, AnyEngine] | None = None,
    **settings: Any,
) -> Instrumentation:
    """Have an application say what it does; no answer of it is changed.

    engine: of SQLAlchemy; several by the names that their pools are shown under. settings: see
    `Settings`; what is not given comes from the environment, then from [service] of firedrill.toml. With
    FIREDRILL_DISABLED=1 nothing is done, and neither is read. Of an application that has been
    instrumented the first call's is returned, unchanged: `add_engine` adds to it. Raises SettingsError;
    nothing of it raises later.
    """
    if not isinstance(app, FastAPI):
        raise SettingsError(f"app={app!r}: instrument takes a FastAPI application")
    found = getattr(app.state, "firedrill", None)
    if isinstance(found, Instrumentation):
        return found
    environment, described = ({}, {}) if is_disabled() else (os.environ, described_settings())
    instrumentation = Instrumentation(
        app, settings_of(app.title, settings, environment, described)
    )
    app.state.firedrill = instrumentation
    engines = engine if isinstance(engine, Mapping) else {POOL: engine} if engine else {}
    for name, one in engines.items():
        instrumentation.add_engine(one, name=name)
    instrumentation.install()
    return instrumentation


class Instrumentation:
    """What `instrument` put on one application."""

    def __init__(self, app: FastAPI, settings: Settings) -> None:
        self.settings = settings
        self.tracing: Tracing | None = None
        self.endpoint: endpoint.Endpoint | None = None
        self._app = app
        self._callers = RecentCallers()
        self._lines: logs.Lines | None = None
        self._loop = LoopMonitor(metrics.EVENT_LOOP_LAG_SECONDS)
        self._has_begun = False
        self._engines: list[Engine] = []
        self._table: tuple[int, RouteTable] = (-1, RouteTable(()))

    def add_engine(self, engine: AnyEngine, *, name: str) -> None:
        """Measure an engine that was not there yet at `instrument`, under the name of its pool.

        Raises SettingsError when it is none.
        """
        if is_disabled():
            return
        sync = getattr(engine, "sync_engine", engine)
        if not isinstance(sync, Engine):
            raise SettingsError(
                f"engine={engine!r}: instrument takes an Engine or AsyncEngine of SQLAlchemy"
            )
        if not measure_pool(sync, PoolMeter(name)):
            _log.warning("firedrill: the pool %s has no queue, so nobody can wait for it", name)
        measure_statements(sync)
        count_transactions(sync)
        self._engines.append(sync)
        if self.tracing is not None:
            self.tracing.instrument_engine(sync)

    def install(self) -> None:
        """Put the layers around and into the stack that Starlette builds before its first request."""
        if is_disabled():
            return
        app, build, seen = self._app, self._app.build_middleware_stack, SeenErrors(self._app)

        def build_instrumented() -> ASGIApp:
            own, handlers = app.user_middleware, app.exception_handlers
            app.user_middleware = [Middleware(FailureMarks, log=lambda: self.log), *own]
            app.exception_handlers = {
                kind: handler if isinstance(kind, int) else seen.wrapped(handler)
                for kind, handler in handlers.items()
            }
            try:
                return _Outside(build(), self)
            finally:
                app.user_middleware, app.exception_handlers = own, handlers

        app.build_middleware_stack = build_instrumented  # type: ignore[method-assign]
        app.middleware_stack = None  # built before, when this is called in a lifespan

    def begin(self) -> None:
        """Start what has a thread or a port, in the process that serves, once; and the loop's timer."""
        if not self._has_begun:
            # Before: if this fails half-way, each request would open one more port.
            self._has_begun = True
            self._start()
        self._loop.start()

    def _start(self) -> None:
        guard.report_to(_report)
        self.endpoint = self._serve()
        instance = f"{socket.gethostname()}:{self.endpoint.port if self.endpoint else 0}"
        self._lines = self._open_lines(instance)
        self.tracing = self._start_tracing(instance)
        for engine in self._engines:
            self.tracing.instrument_engine(engine)
        metrics.CLIENT_CALLERS.read = self._callers.counts
        metrics.BUILD_INFO.labels(self.settings.version, "").set(1)
        self._routes()

    def flush(self) -> None:
        """Hand over what is queued; about 3 s at most. Called when the server's lifespan ends."""
        if self.tracing is not None:
            self.tracing.flush()
        if self._lines is not None:
            self._lines.writer.flush()

    @property
    def log(self) -> FilteringBoundLogger:
        """Where the kit's own lines go."""
        assert self._lines is not None  # noqa: S101 - `begin` was called
        return self._lines.log

    def edge(self, app: ASGIApp, tracing: Tracing) -> Edge:
        return Edge(
            tracing.asgi(app, joins_running=True),
            resolve=self._resolve,
            scheme=None,
            duration=metrics.HTTP_REQUEST_SECONDS,
            active=metrics.HTTP_ACTIVE_REQUESTS,
            client_requests=metrics.CLIENT_REQUESTS,
            callers=self._callers,
            disconnects=metrics.CLIENT_DISCONNECTS,
            keep=tracing.keep,
            on_status=note_status,
            names_requests=False,
            is_outermost=False,
            log=self.log,
            lines=self._lines,
        )

    def _resolve(self, scope: Scope) -> Route:
        return self._routes().resolve(scope["method"], path_of(scope))

    def _routes(self) -> RouteTable:
        """The table, made again when routes were added since."""
        count = len(self._app.routes)
        known, table = self._table
        if known != count:
            table = RouteTable(routes_of(self._app))
            self._table = (count, table)
            create_counters(table.templates)
        return table

    def _serve(self) -> endpoint.Endpoint | None:
        settings = self.settings
        if not settings.metrics_port:
            return None
        try:
            served = endpoint.serve(
                metrics.REGISTRY,
                host=settings.metrics_host,
                port=settings.metrics_port,
                workers_max=settings.workers_max,
            )
        except OSError as error:
            _log.warning(
                "firedrill: no metrics on %s, set FIREDRILL_METRICS_HOST: %s",
                settings.metrics_host,
                error,
            )
            return None
        if served is None:
            _log.warning(
                "firedrill: no metrics: all ports from %d to %d are taken, set FIREDRILL_METRICS_PORT,"
                " or service.workers in firedrill.toml",
                settings.metrics_port,
                settings.metrics_port + settings.workers_max - 1,
            )
        return served

    def _open_lines(self, instance: str) -> logs.Lines:
        settings = self.settings
        options: dict[str, Any] = {
            "service": settings.service,
            "version": settings.version,
            "instance": instance,
            "environment": settings.environment,
            "level": settings.log_level,
            "format_": "json",
            "capacity": LINES_MAX,
            "records": metrics.LOG_RECORDS,
        }
        if settings.logs == "take_over":
            return logs.configure(**options)
        if settings.logs == "off":
            options["write"] = len  # taken, and written nowhere
        logs.add_trace_to_records()
        return logs.open_lines(**options)

    def _start_tracing(self, instance: str) -> Tracing:
        settings, provider = self.settings, trace.get_tracer_provider()
        joined = provider if isinstance(provider, TracerProvider) else None
        tracing = start_tracing(
            endpoint=settings.otlp_endpoint,
            service=settings.service,
            version=settings.version,
            instance=instance,
            environment=settings.environment,
            keep=Keep(base_ratio=settings.base_ratio),
            trusted_networks=settings.trusted_networks,
            queue_spans=settings.queue_spans,
            timeout_seconds=EXPORT_SECONDS,
            spans=metrics.TELEMETRY_SPANS,
            queued=metrics.TELEMETRY_QUEUE,
            queue_capacity=metrics.TELEMETRY_QUEUE_CAPACITY,
            provider=joined,
            clean=mask,
            log=self.log,
        )
        if joined is None:
            # FastAPI's own server span begins once there is a provider: one request, one server span.
            getattr(self._app, "_telemetry", {}).update(tracing=False)
            trace.set_tracer_provider(tracing.provider)
        return tracing


class _Outside:
    """The outermost layer."""

    def __init__(self, app: ASGIApp, instrumentation: Instrumentation) -> None:
        self._app = app
        self._instrumentation = instrumentation
        self._edge: ASGIApp | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            self._begin()
            try:
                await self._app(scope, receive, send)
            finally:
                with guard.guard("http"):
                    self._instrumentation.flush()
            return
        # The server may run without a lifespan.
        edge = self._edge or self._begin()
        await edge(scope, receive, send)

    def _begin(self) -> ASGIApp:
        with guard.guard("http"):
            self._instrumentation.begin()
            if self._edge is None and (tracing := self._instrumentation.tracing):
                self._edge = self._instrumentation.edge(self._app, tracing)
        self._edge = self._edge or self._app
        return self._edge


def _report(where: str, error: Exception) -> None:
    metrics.TELEMETRY_ERRORS.labels(where).inc()
    if where != "logs":  # the way that would tell it is the broken one
        _log.error("firedrill: a bug of the kit was swallowed in %s: %s", where, describe(error))
