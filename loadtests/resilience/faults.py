"""The faults: what each breaks, how, and which routes have nothing to do with it.

A fault is an async context manager: entering breaks, leaving mends. It breaks what is around the
service, or asks for a route that only the drill's build has; the service knows of none of them.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx

from loadtests.world.description import DEMO
from loadtests.world.drill_app import BLOCK_SECONDS
from loadtests.world.surroundings import Surroundings
from stack.proxy import FaultProxy, Mode

Break = Callable[[Surroundings], AbstractAsyncContextManager[None]]

_PROVIDER = frozenset({"POST /api/v1/calendar/sync/auto", "PUT /api/v1/calendar/connection"})
_PROFILE = frozenset({"GET /api/v1/profile", "PUT /api/v1/profile"})
_SETTINGS = frozenset({"GET /api/v1/settings", "PUT /api/v1/settings"})
_WITHOUT_DATABASE = frozenset({"GET /problems/{code}"})
_ALL = frozenset(DEMO.mix)


@dataclass(frozen=True)
class Fault:
    """unrelated: routes that must not notice. block_seconds: for how long the loop itself stands
    still, which no deadline can beat. extra: seconds between the requests of a route that is asked
    for only while the fault lasts. mends_itself: it is over once `broken` is entered.
    """

    name: str
    what: str
    broken: Break
    unrelated: frozenset[str]
    block_seconds: float = 0.0
    extra: Mapping[str, float] = field(default_factory=dict)
    mends_itself: bool = False


def _through(proxy: Callable[[Surroundings], FaultProxy], mode: Mode) -> Break:
    @asynccontextmanager
    async def broken(around: Surroundings) -> AsyncIterator[None]:
        proxy(around).mode = mode
        try:
            yield
        finally:
            proxy(around).mode = "pass"

    return broken


def _provider_says(**control: Any) -> Break:
    @asynccontextmanager
    async def broken(around: Surroundings) -> AsyncIterator[None]:
        await _control(around, control)
        try:
            yield
        finally:
            await _control(around, {"reset": True})

    return broken


async def _control(around: Surroundings, wanted: Mapping[str, Any]) -> None:
    async with httpx.AsyncClient(trust_env=False) as http:
        answer = await http.post(f"{around.provider_url}/_control", json=wanted)
        answer.raise_for_status()


def _column_away(table: str, column: str) -> Break:
    """Renamed, which is a drop to the service, and mends without losing what was stored."""

    @asynccontextmanager
    async def broken(around: Surroundings) -> AsyncIterator[None]:
        rename = f"ALTER TABLE {table} RENAME COLUMN"
        await around.owner.execute(f"{rename} {column} TO {column}_away")
        try:
            yield
        finally:
            await around.owner.execute(f"{rename} {column}_away TO {column}")

    return broken


@asynccontextmanager
async def _table_locked(around: Surroundings) -> AsyncIterator[None]:
    async with around.owner.transaction():
        await around.owner.execute("LOCK TABLE profiles IN ACCESS EXCLUSIVE MODE")
        yield


@asynccontextmanager
async def _connections_killed(around: Surroundings) -> AsyncIterator[None]:
    async def kill() -> None:
        while True:
            await around.superuser.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE application_name = 'firedrill-api'"
            )
            await asyncio.sleep(1)

    killing = asyncio.create_task(kill())
    try:
        yield
    finally:
        killing.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await killing


@asynccontextmanager
async def _database_restarted(around: Surroundings) -> AsyncIterator[None]:
    await around.restart_postgres()
    yield


@asynccontextmanager
async def _nothing(_around: Surroundings) -> AsyncIterator[None]:
    yield


def _database(around: Surroundings) -> FaultProxy:
    return around.database_proxy


def _provider(around: Surroundings) -> FaultProxy:
    return around.provider_proxy


def _collector(around: Surroundings) -> FaultProxy:
    return around.collector_proxy


FAULTS: tuple[Fault, ...] = (
    Fault("none", "nothing is broken", _nothing, _ALL),
    Fault(
        "database_refusing",
        "the database's port is closed, its connections are reset",
        _through(_database, "refuse"),
        _WITHOUT_DATABASE,
    ),
    Fault(
        "database_blackholed",
        "nothing moves between service and database",
        _through(_database, "blackhole"),
        _WITHOUT_DATABASE,
    ),
    Fault(
        "table_locked",
        "ACCESS EXCLUSIVE lock on the profiles",
        _table_locked,
        _ALL - _PROFILE,
    ),
    Fault(
        "connections_killed",
        "every connection of the service is terminated each second",
        _connections_killed,
        _WITHOUT_DATABASE,
    ),
    Fault(
        "database_restarted",
        "fast shutdown and start of PostgreSQL",
        _database_restarted,
        _WITHOUT_DATABASE,
        mends_itself=True,
    ),
    Fault(
        "provider_refusing",
        "the provider's port is closed",
        _through(_provider, "refuse"),
        _ALL - _PROVIDER,
    ),
    Fault(
        "provider_hanging",
        "the provider takes connections and answers nothing",
        _through(_provider, "blackhole"),
        _ALL - _PROVIDER,
    ),
    Fault(
        "provider_500",
        "both endpoints of the provider answer 500",
        _provider_says(token={"mode": "error_500"}, calendar={"mode": "error_500"}),
        _ALL - _PROVIDER,
    ),
    Fault(
        "provider_html",
        "both endpoints of the provider answer 200 with HTML",
        _provider_says(token={"mode": "html"}, calendar={"mode": "html"}),
        _ALL - _PROVIDER,
    ),
    Fault(
        "provider_quota",
        "the project's quota at the provider is used up (403 rateLimitExceeded)",
        _provider_says(calendar={"mode": "rate_limit_exceeded"}),
        _ALL - _PROVIDER,
    ),
    Fault(
        "column_dropped_optional",
        "settings.ai_models is gone",
        _column_away("settings", "ai_models"),
        _ALL - _SETTINGS,
    ),
    Fault(
        "column_dropped_required",
        "profiles.locale is gone",
        _column_away("profiles", "locale"),
        _ALL - _PROFILE,
    ),
    Fault(
        "unknown_exception",
        "a route of the drill's build raises what nothing names, 5 times a second",
        _nothing,
        _ALL,
        extra={"GET /drill/raise": 0.2},
    ),
    Fault(
        "loop_blocked",
        "a route of the drill's build holds the event loop for 3 s, every 9 s",
        _nothing,
        frozenset(),
        block_seconds=BLOCK_SECONDS,
        extra={"GET /drill/block": 9.0},
    ),
    Fault(
        "collector_blackholed",
        "nothing moves between service and trace collector",
        _through(_collector, "blackhole"),
        _ALL,
    ),
)
