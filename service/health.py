"""Health and metrics on the internal port, from a thread and an event loop of their own.

`/livez` on the same loop took 2.6 s while that loop was blocked, 1.8 ms from its own thread (measured).
A newcomer would make readiness depend on the database: every replica shares it, so the balancer would
take all of them out and callers would get no useful answer. It is shown in the body and leaves 200.
"""

import asyncio
import contextlib
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg
import structlog
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from firedrill_kit import metrics as core_metrics
from firedrill_kit.driver_errors import connect_failure
from firedrill_kit.telemetry.exposition import compressed, exposition
from service import metrics
from service.config import Config
from service.database import connect

LOOP_STUCK_SECONDS = 5.0
"""A heartbeat older than this: the loop is blocked, `/livez` fails."""
DATABASE_EVERY_SECONDS = 5.0
DATABASE_ANSWER_SECONDS = 1.0
CONNECTION_LIFE_SECONDS = 30.0
"""After it the probe opens a new connection: the pool keeps its own for half an hour, and would not meet a
changed password, a full server or a closed way before callers do."""
POOL_WEDGED_SECONDS = 30.0
"""All connections out and the oldest for this long: no deadline lets a request hold one so long."""
FAILURES_TO_DOWN, SUCCESSES_TO_UP = 3, 2

_log = structlog.get_logger()


class Hysteresis:
    """Good until several bad observations in a row, then bad until several good ones."""

    def __init__(self) -> None:
        self.value = True
        self._against = 0

    def observe(self, value: bool) -> bool:  # noqa: FBT001 - the observation itself
        self._against = 0 if value == self.value else self._against + 1
        if self._against >= (FAILURES_TO_DOWN if self.value else SUCCESSES_TO_UP):
            self.value, self._against = value, 0
        return self.value


class Health:
    """What this replica knows about itself. Written by the main loop, read by the internal thread."""

    def __init__(self) -> None:
        self.heartbeat_age_seconds: Callable[[], float] = lambda: 0.0
        self._pool_turns = Hysteresis()
        self.phase = "starting"
        """starting, running or stopping."""
        self.missing_schema_objects: Callable[[], tuple[str, ...]] = tuple
        self.database = "unknown"
        """ok, or why the database cannot be reached; unknown before the first try."""
        self.oldest_checkout_seconds: Callable[[], float] = lambda: 0.0
        self.pool_is_exhausted: Callable[[], bool] = lambda: False

    @property
    def is_alive(self) -> bool:
        return self.heartbeat_age_seconds() < LOOP_STUCK_SECONDS

    def observe_pool(self) -> None:
        wedged = self.pool_is_exhausted() and self.oldest_checkout_seconds() > POOL_WEDGED_SECONDS
        self._pool_turns.observe(not wedged)

    def reasons(self) -> list[str]:
        """Return why this replica should get no traffic; empty when it should."""
        reasons = [] if self.phase == "running" else [self.phase]
        if not self.is_alive:
            reasons.append("event_loop_blocked")
        if not self._pool_turns.value:
            reasons.append("pool_wedged")
        reasons += [f"schema_object_missing: {name}" for name in self.missing_schema_objects()]
        return reasons


class DatabaseProbe:
    """Asks the database every few seconds over a connection of its own, never the pool's.

    The connection is replaced now and then, by the role, password and way of the pool's. Where that fails
    the old one is kept, so that `db_up` says whether the server answers and `db_connect_up` whether one
    can still get in.
    """

    def __init__(self, config: Config, health: Health) -> None:
        self._config = config
        self._health = health
        self._state = Hysteresis()
        self._connection: asyncpg.Connection[Any] | None = None
        self._renew_at = 0.0

    async def run(self) -> None:
        await every(DATABASE_EVERY_SECONDS, "database_probe", self._observe)

    async def _observe(self) -> None:
        answer = "other"
        try:
            answer = await self._ask()
        finally:
            # Also for what nobody foresaw: a probe that stops must not leave `db_up` at 1.
            metrics.DB_UP.set(answer == "ok")
            if self._state.observe(answer == "ok") == (answer == "ok"):
                self._health.database = answer
            self._health.observe_pool()

    def close(self) -> None:
        """Drop the connection, without a word to a database that may not listen."""
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None
        self._renew_at = 0.0

    async def _ask(self) -> str:
        if self._connection is not None and self._connection.is_closed():
            self.close()
        reason = await self._renewed() if time.monotonic() >= self._renew_at else "ok"
        if self._connection is None:
            return reason
        try:
            async with asyncio.timeout(DATABASE_ANSWER_SECONDS):
                asked_at = time.perf_counter()
                await self._connection.fetchval("SELECT 1")
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            self.close()
            return connect_failure(error).reason
        metrics.DB_ROUND_TRIP_SECONDS.set(time.perf_counter() - asked_at)
        return "ok"

    async def _renewed(self) -> str:
        """Replace the connection by a new one; returns "ok", or why there is none."""
        try:
            async with asyncio.timeout(DATABASE_ANSWER_SECONDS):
                fresh = await connect(self._config, application_name="firedrill-health")
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            reason = connect_failure(error).reason
            core_metrics.DB_CONNECT_FAILURES.labels(reason).inc()
            metrics.DB_CONNECT_UP.set(0)
            return reason
        metrics.DB_CONNECT_UP.set(1)
        self.close()
        self._connection = fresh
        self._renew_at = time.monotonic() + CONNECTION_LIFE_SECONDS
        return "ok"


class InternalServer:
    """Serves `/livez`, `/readyz` and `/metrics`. `start` returns once the port is open.

    Raises OSError when the port cannot be had.
    """

    def __init__(self, config: Config, health: Health) -> None:
        self._config = config
        self._health = health
        self._probe = DatabaseProbe(config, health)
        self._server = uvicorn.Server(
            uvicorn.Config(
                self.app(),
                host=config.service_host,
                port=config.service_internal_port,
                log_config=None,
                access_log=False,
                lifespan="off",
            )
        )
        self._thread = threading.Thread(target=self._run, name="internal-server", daemon=True)

    def start(self) -> None:
        self._thread.start()
        while not self._server.started:
            if not self._thread.is_alive():
                port = self._config.service_internal_port
                message = f"port {port} cannot be opened: set SERVICE_INTERNAL_PORT to a free one"
                raise OSError(message)
            time.sleep(0.01)

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(2)

    def app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/livez", self._livez),
                Route("/readyz", self._readyz),
                Route("/metrics", _metrics),
            ]
        )

    def _run(self) -> None:
        # uvicorn ends the thread by SystemExit when it cannot bind; `start` says so in one line.
        with contextlib.suppress(SystemExit):
            asyncio.run(self._serve())

    async def _serve(self) -> None:
        probe = asyncio.create_task(self._probe.run())
        try:
            await self._server.serve()
        finally:
            probe.cancel()
            await asyncio.gather(probe, return_exceptions=True)
            self._probe.close()

    async def _livez(self, _request: Request) -> Response:
        alive = self._health.is_alive
        body = {"status": "ok" if alive else "event_loop_blocked"}
        return JSONResponse(body, 200 if alive else 503)

    async def _readyz(self, _request: Request) -> Response:
        reasons = self._health.reasons()
        body = {
            "status": "not_ready" if reasons else "ready",
            "reasons": reasons,
            "dependencies": {"database": self._health.database},
        }
        return JSONResponse(body, 503 if reasons else 200)


async def _metrics(request: Request) -> Response:
    # A fresh thread would add its own GIL switches.
    body, content_type = exposition(
        core_metrics.REGISTRY, ",".join(request.headers.getlist("accept"))
    )
    body, more = compressed(body, ",".join(request.headers.getlist("accept-encoding")))
    vary = "Accept, Accept-Encoding"
    return Response(body, headers={"Content-Type": content_type, "Vary": vary, **more})


async def every(seconds: float, name: str, work: Callable[[], Awaitable[None]]) -> None:
    """Run `work` at this interval until cancelled; what it raises is logged by type and forgotten."""
    while True:
        try:
            await work()
        except Exception as error:  # noqa: BLE001 - a failing chore must not end the service
            _log.warning("background_work_failed", work=name, exception_type=type(error).__name__)
        await asyncio.sleep(seconds)
