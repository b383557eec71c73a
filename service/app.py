"""The composition root: configuration in, a running service out.

Everything that has a lifetime is made here and handed on; no module below reads the environment. The
order of the middlewares is the life of a request (docs/architecture.md): the first to see it is the first
that can refuse it, and the cheapest.
"""

import asyncio
import math
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Annotated, Any

import httpx
import structlog
from fastapi import FastAPI, Path
from fastapi.responses import PlainTextResponse
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Scope

from firedrill_kit import metrics as core_metrics
from firedrill_kit.resilience import deadline
from firedrill_kit.resilience.admission import Admission, Door, Limits, Place
from firedrill_kit.resilience.arrivals import Arrivals
from firedrill_kit.resilience.deadline import Deadline
from firedrill_kit.routes import flat
from firedrill_kit.telemetry import check, guard
from firedrill_kit.telemetry.callers import RecentCallers
from firedrill_kit.telemetry.describe import describe
from firedrill_kit.telemetry.http import Edge
from firedrill_kit.telemetry.keep import Keep
from firedrill_kit.telemetry.loop import LoopMonitor
from firedrill_kit.telemetry.record import RequestRecord
from firedrill_kit.telemetry.traces import Tracing, start_tracing
from service import docs, failures, framework, metrics, problems, responses
from service.bodies import Bodies
from service.cache import PROBE_EVERY_SECONDS, Cache
from service.config import Config
from service.database import Database
from service.domains.auth.attempts import network_of
from service.domains.auth.limit import SignInLimit
from service.domains.auth.operations import SignIn
from service.domains.auth.passwords import Passwords
from service.domains.auth.router import routes as auth_routes
from service.domains.calendar import operations as calendar
from service.domains.calendar.grants import Grants
from service.domains.calendar.router import routes as calendar_routes
from service.domains.profile.router import routes as profile_routes
from service.domains.settings.cache import SettingsCache
from service.domains.settings.router import routes as settings_routes
from service.failures import Failure
from service.health import Health, every
from service.provided import provide
from service.routes import HeadAsGet, Policy, RouteTable, table_of
from service.schema import Capabilities, SchemaWatch
from service.security import Authentication, Security
from service.upstream import CalendarProvider, open_http

GRANTS_EVERY_SECONDS = 15.0
SELF_CHECK_PATH = "/problems/not_found"
"""Answered without a caller or a database, so it can be asked before either is there."""

_log = structlog.get_logger()


class InstrumentationInactiveError(RuntimeError):
    """The service would run blind; the message says what is missing."""


@dataclass(frozen=True)
class Parts:
    """Factories of the parts that another build of the service replaces, as those of loadtests do."""

    database: Callable[[Config], Database] = Database
    provider: Callable[[httpx.AsyncClient, Config, Cache], CalendarProvider] = (
        lambda http, config, cache: CalendarProvider(http, config, cache=cache)
    )
    grants: Callable[[Database, CalendarProvider, Config], Grants] = Grants
    add_routes: Callable[[FastAPI], None] = lambda _app: None


SHIPPED = Parts()


class Service:
    """One service process, without its sockets: `asgi` is the public application.

    Raises ValueError for a configuration whose parts do not fit together.
    """

    def __init__(self, config: Config, *, parts: Parts = SHIPPED) -> None:
        self.config = config
        self.health = Health()
        self.tracing = _start_tracing(config)
        self.database = parts.database(config)
        self.statements = self.tracing.instrument_engine(self.database.engine.sync_engine)
        self.loop_monitor = LoopMonitor(core_metrics.EVENT_LOOP_LAG_SECONDS)
        self.cache = Cache(
            config.cache_url.get_secret_value(), lag_seconds=lambda: self.loop_monitor.lag_seconds
        )
        self._http = open_http(config)
        self.provider = parts.provider(self._http, config, self.cache)
        self.grants = parts.grants(self.database, self.provider, config)
        self.capabilities = Capabilities()
        self.schema = SchemaWatch(self.database, self.capabilities)
        self.security = Security.of(config)
        self.sign_in = SignIn(
            self.database,
            Passwords(),
            SignInLimit.of(config, self.cache, hashed=self.security.caller_hash),
            config,
        )
        self.settings_cache = SettingsCache.of(config, self.cache)
        self.admission = _admission(config)
        self.arrivals = Arrivals(
            of_caller_bytes=config.arriving_bytes_of_caller_max,
            bytes_max=config.arriving_bytes_max,
        )
        self.callers = RecentCallers()
        self.app = self._application()
        parts.add_routes(self.app)
        self.routes = table_of(self.app)
        provide(self.app, RouteTable, self.routes)
        self.asgi = self._with_outer_layers(self.app)
        self._background: list[asyncio.Task[None]] = []
        _touch(self.app, self.routes, config.public_scheme)
        core_metrics.BUILD_INFO.labels(config.service_version, config.service_revision).set(1)
        self.health.heartbeat_age_seconds = lambda: self.loop_monitor.age_seconds
        self.health.missing_schema_objects = lambda: self.capabilities.missing_required
        self.health.pool_is_exhausted = lambda: self.database.pool.checkedin() == 0
        self.health.oldest_checkout_seconds = lambda: max(
            self.database.pool.meter.oldest_checkouts().values()
        )

    async def start(self) -> None:
        """Begin the background work; raises InstrumentationInactiveError rather than run blind."""
        self.loop_monitor.start()
        problems = await check.verify(self.tracing, self._ask_itself, self.statements)
        of_statement = await self._statement_span_problems()
        problems += of_statement or []
        if problems:
            _log.error("instrumentation_inactive", problems=problems)
            raise InstrumentationInactiveError("; ".join(problems))
        if of_statement is None:
            self._begin(self._check_statement_span_later(), "statement-span")
        self._begin(every(PROBE_EVERY_SECONDS, "cache", self.cache.probe), "cache")
        self._begin(self.schema.run(self.config.schema_check_seconds), "schema")
        self._begin(every(GRANTS_EVERY_SECONDS, "grants", self._count_grants), "grants")
        _log.info("service_started", port=self.config.service_port)

    async def stop(self) -> None:
        """End the background work, close connections, export what is queued; about 3 s at most."""
        self.health.phase = "stopping"
        for task in self._background:
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)
        await self.grants.close()
        await self._http.aclose()
        self.sign_in.close()
        if self.settings_cache is not None:
            await self.settings_cache.close()
        await self.cache.close()
        await self.database.close()
        self.loop_monitor.stop()
        _log.info("service_stopped")
        await asyncio.to_thread(self.tracing.stop)

    def _application(self) -> FastAPI:
        app = FastAPI(
            title="Firedrill API",
            version=self.config.service_version,
            # One server span per request, from one place: the framework's own telemetry is off.
            telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},
            docs_url=None,
            redoc_url=None,
            redirect_slashes=False,
            middleware=self._inner_layers(),
        )
        provide(app, Database, self.database)
        provide(app, CalendarProvider, self.provider)
        provide(app, Grants, self.grants)
        provide(app, Capabilities, self.capabilities)
        provide(app, Security, self.security)
        provide(app, SignIn, self.sign_in)
        if self.settings_cache is not None:
            provide(app, SettingsCache, self.settings_cache)
        for routes in (auth_routes, profile_routes, settings_routes, calendar_routes):
            app.include_router(routes)
        app.add_api_route(
            "/problems/{code}",
            explain_problem,
            response_class=PlainTextResponse,
            responses=problems.problems(failures.NOT_FOUND, caller=False, database=False),
        )
        docs.install(app, self.security)
        framework.install(app)
        return app

    def _inner_layers(self) -> list[Middleware]:
        """Outermost first; `CatchAll` answers with a trace, the one outside for what has none."""
        return [
            Middleware(responses.CatchAll, on_failure=self._on_failure),
            Middleware(Authentication, security=self.security),
            Middleware(
                Bodies,
                max_bytes=self.config.body_bytes_max,
                seconds=self.config.body_timeout_seconds,
                arrivals=self.arrivals,
                caller_of=_caller_of,
            ),
            Middleware(
                Deadline, seconds_for=self._deadline_seconds, patience_for=_patience_seconds
            ),
            Middleware(Place, admission=self.admission, class_of=_class_of, caller_of=_caller_of),
            Middleware(HeadAsGet),
        ]

    def _with_outer_layers(self, app: ASGIApp) -> ASGIApp:
        """Wrap the application in what comes before tracing: the request's record, cheap refusals."""
        door = Door(self.tracing.asgi(app), admission=self.admission, class_of=_class_of)
        core_metrics.CLIENT_CALLERS.read = self.callers.counts
        return Edge(
            responses.CatchAll(door),
            resolve=lambda scope: self.routes.resolve(scope["path"]),
            scheme=self.config.public_scheme,
            duration=core_metrics.HTTP_REQUEST_SECONDS,
            active=core_metrics.HTTP_ACTIVE_REQUESTS,
            client_requests=core_metrics.CLIENT_REQUESTS,
            callers=self.callers,
            disconnects=core_metrics.CLIENT_DISCONNECTS,
            keep=self.tracing.keep,
        )

    def _deadline_seconds(self, scope: Scope) -> float:
        config = self.config
        return {
            "read": config.read_deadline_seconds,
            "write": config.write_deadline_seconds,
            "calendar": config.calendar_deadline_seconds,
            "login": config.login_deadline_seconds,
        }[_policy(scope).admission or "read"]

    def _on_failure(self, failure: Failure) -> None:
        if failure.mode is failures.SCHEMA_MISMATCH:
            self.schema.hurry()

    def _begin(self, work: Coroutine[Any, Any, None], name: str) -> None:
        self._background.append(asyncio.create_task(work, name=name))

    async def _count_grants(self) -> None:
        counts = await calendar.count_grants(self.database)
        for status, count in counts.items():
            metrics.OAUTH_GRANTS.labels(metrics.PROVIDER, status).set(count)

    async def _statement_span_problems(self) -> list[str] | None:
        """None when the database does not answer: then nothing is known yet."""

        async def one_statement() -> None:
            await calendar.count_grants(self.database)

        try:
            return await check.verify_statement(self.tracing, one_statement)
        except Failure:
            return None

    async def _check_statement_span_later(self) -> None:
        """Where the database was away at start: a service that has callers by now is not ended."""
        problems = None
        while problems is None:
            await asyncio.sleep(1)
            problems = await self._statement_span_problems()
        if problems:
            _log.error("instrumentation_inactive", problems=problems)

    async def _ask_itself(self) -> None:
        transport = httpx.ASGITransport(self.asgi)
        async with httpx.AsyncClient(transport=transport, base_url="http://self-check") as client:
            await client.get(SELF_CHECK_PATH)


async def explain_problem(code: Annotated[str, Path(examples=["validation_failed"])]) -> str:
    """Say what happened and what the caller can do, for each `type` of a problem."""
    mode = failures.MODES.get(code)
    if mode is None:
        raise Failure(failures.NOT_FOUND)
    return problems.explain(mode)


def _policy(scope: Scope) -> Policy:
    policy: Policy = scope["firedrill.route"].policy(scope["method"])
    return policy


def _class_of(scope: Scope) -> str | None:
    return _policy(scope).admission


def _caller_of(scope: Scope) -> str:
    """Whose budgets a request uses up: the account's, where it is proven, or else the address's."""
    record: RequestRecord = scope["firedrill.record"]
    client = scope.get("client")
    return record.caller or network_of(client[0] if client else "")


def _patience_seconds(scope: Scope) -> float:
    """What is left of the time that the caller gave the request; it began with the head."""
    record: RequestRecord = scope["firedrill.record"]
    return deadline.patience_seconds(scope["headers"]) - (time.perf_counter() - record.started)


def _admission(config: Config) -> Admission:
    def limits(
        at_work: int, wait_seconds: float, *, waiting: int, of_caller: int | None = None
    ) -> Limits:
        return Limits(
            at_work=at_work,
            of_caller=of_caller or math.ceil(at_work * config.caller_share_max),
            wait_seconds=wait_seconds,
            waiting=waiting * at_work,
            waiting_of_caller=waiting * at_work // 2,
        )

    short, long = config.place_wait_seconds, config.long_place_wait_seconds
    return Admission(
        {
            "read": limits(config.read_in_flight_max, short, waiting=1),
            "write": limits(config.write_in_flight_max, short, waiting=1),
            "calendar": limits(config.calendar_in_flight_max, long, waiting=4),
            "login": limits(
                config.login_in_flight_max,
                long,
                waiting=4,
                of_caller=config.login_of_address_max,
            ),
        },
        on_change=lambda name, now: metrics.ADMITTED_REQUESTS.labels(name).set(now),
        on_shed=lambda name: metrics.LOAD_SHED.labels(name).inc(),
    )


def _start_tracing(config: Config) -> Tracing:
    guard.report_to(_report_telemetry_error)
    return start_tracing(
        endpoint=config.otlp_endpoint,
        service=config.service_name,
        version=config.service_version,
        instance=config.instance,
        environment=config.environment,
        keep=Keep(base_ratio=config.trace_base_ratio),
        trusted_networks=config.trusted_networks,
        queue_spans=config.trace_queue_spans,
        timeout_seconds=config.otlp_timeout_seconds,
        spans=core_metrics.TELEMETRY_SPANS,
        queued=core_metrics.TELEMETRY_QUEUE,
        queue_capacity=core_metrics.TELEMETRY_QUEUE_CAPACITY,
        error_type=_error_type,
        instrumentation=config.telemetry_instrumentation,
    )


def _error_type(error: BaseException) -> str:
    return error.mode.code if isinstance(error, Failure) else type(error).__qualname__


def _report_telemetry_error(where: str, error: Exception) -> None:
    core_metrics.TELEMETRY_ERRORS.labels(where).inc()
    if where != "logs":  # logging is what is broken: it cannot report itself
        _log.error("exception", where=where, **describe(error))


def _touch(app: FastAPI, routes: RouteTable, scheme: str) -> None:
    """Create the series of every route, status and code that the OpenAPI document declares.

    Not read from the document: to make it is a tenth of the start.
    """
    statuses: list[tuple[str, str, int]] = []
    codes: list[tuple[str, str]] = []
    for route in flat(app.routes):
        if route.include_in_schema:
            answers = {route.status_code or 200, *route.responses}
            statuses += [
                (method, route.path, status) for method in route.methods for status in answers
            ]
            codes += [
                (route.path, code)
                for code in problems.documented_codes({"responses": route.responses})
            ]
    unmatched = routes.resolve("").template
    statuses += [("GET", unmatched, 404)]
    codes += [(unmatched, code) for code in ("not_found", "method_not_allowed")]
    metrics.touch(scheme, statuses, codes)
