"""The composition root of the provider simulator.

`create_app` builds the application, `server_config` says how uvicorn must serve it, and `serving`
does both inside a running event loop, for tests: `async with serving(Settings()) as base_url: ...`.
"""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from stack.provider import control
from stack.provider.events import Calendars
from stack.provider.google import EventsEndpoint, Provider, RevokeEndpoint, TokenEndpoint
from stack.provider.grants import Grants, Terms
from stack.provider.judge import Judge
from stack.provider.metrics import Measured, Metrics
from stack.provider.modes import Modes
from stack.provider.store import Store
from stack.provider.transport import CutAtShutdown, Protocol
from stack.serving import guest, metrics_route

BACKLOG = 2048
"""As uvicorn's own; a barrier of some hundred clients connects at once."""

SHUTDOWN_SECONDS = 1
"""A hanging call must not keep `make down` waiting."""


@dataclass(frozen=True)
class Settings:
    """seed: decides tokens and events. state: keeps grants and calendars; None: memory only."""

    seed: str = "1"
    client_id: str = "firedrill-local-client"
    client_secret: str = field(default="firedrill-local-secret", repr=False)
    terms: Terms = field(default_factory=Terms)
    state: Path | None = None


def create_app(settings: Settings) -> Starlette:
    """Raises StateUnusable."""
    store = Store(settings.state, seed=settings.seed) if settings.state else None
    provider = Provider(
        client_id=settings.client_id,
        client_secret=settings.client_secret,
        grants=Grants(
            seed=settings.seed, now=_wall_clock, save=store.save_grant if store else None
        ),
        calendars=Calendars(
            seed=settings.seed,
            now=_wall_clock,
            save=store.save_calendar if store else None,
            save_change=store.save_change if store else None,
        ),
        modes=Modes(settings.terms),
        judge=Judge(monotonic=time.monotonic),
        metrics=Metrics(),
    )
    if store:
        store.restore(provider.grants, provider.calendars)

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        yield
        if store:
            store.close()

    def served(endpoint: str, app: ASGIApp) -> ASGIApp:
        return CutAtShutdown(Measured(app, provider.metrics, endpoint=endpoint))

    return Starlette(
        routes=[
            Route("/token", served("token", TokenEndpoint(provider)), methods=["POST"]),
            Route("/revoke", served("revoke", RevokeEndpoint(provider)), methods=["POST"]),
            Route(
                "/calendar/v3/calendars/{calendar_id}/events",
                served("events", EventsEndpoint(provider)),
                methods=["GET"],
            ),
            *control.routes(provider),
            metrics_route(provider.metrics.registry),
            Route("/healthz", _healthy),
        ],
        lifespan=lifespan,
    )


def server_config(app: Starlette) -> uvicorn.Config:
    """How the simulator must be served; it listens on the socket that `serve` is given.

    The access log stays off: it would write query strings, and those carry sync tokens.
    """
    return uvicorn.Config(
        app,
        http=Protocol,
        ws="none",
        access_log=False,
        log_level="warning",
        server_header=False,
        timeout_graceful_shutdown=SHUTDOWN_SECONDS,
    )


@asynccontextmanager
async def serving(settings: Settings) -> AsyncIterator[str]:
    """A simulator on a free port of 127.0.0.1 for as long as the block runs; gives its base URL."""
    async with guest(server_config(create_app(settings)), backlog=BACKLOG) as url:
        yield url


async def _healthy(_request: Request) -> Response:
    return PlainTextResponse("ok\n")


def _wall_clock() -> float:
    """Seconds since 1970: expiry has to survive a restart, which no monotonic clock does."""
    return datetime.now(UTC).timestamp()
