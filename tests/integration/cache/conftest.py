"""Replicas in this process that share a database and a cache server."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from service import cache as service_cache
from service.app import Service
from service.cache import Cache
from service.health import every
from stack.cache import CacheServer
from stack.postgres import Postgres
from stack.programs import CACHE, find_programs
from stack.proxy import FaultProxy
from stack.serving import free_port
from tests.integration.conftest import config_of

PATIENCE_SECONDS = 20.0

UNHURRIED: dict[str, object] = {
    "connect_timeout_seconds": 20,
    "pool_timeout_seconds": 20,
    "lock_timeout_seconds": 10,
    "statement_timeout_seconds": 15,
    "command_timeout_seconds": 20,
    "read_deadline_seconds": 30,
    "write_deadline_seconds": 30,
    "login_deadline_seconds": 40,
    "place_wait_seconds": 20,
    "long_place_wait_seconds": 20,
}
"""Limits that are not the ones tested here."""

Replicas = Callable[..., Awaitable[list[Service]]]


@pytest.fixture(scope="session")
def cache_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """For what is not about time: a busy machine makes any limit look passed."""
    monkeypatch.setattr(service_cache, "COMMAND_SECONDS", PATIENCE_SECONDS)
    monkeypatch.setattr(service_cache, "SLOW_SECONDS", PATIENCE_SECONDS)


@pytest.fixture
def cache_server(cache_home: Path) -> Iterator[CacheServer]:
    program = find_programs().get(CACHE)
    if program is None:
        pytest.skip("neither Valkey nor Redis is on this machine")
    with CacheServer(cache_home, free_port(), program) as server:
        yield server


@pytest.fixture
async def cache_proxy(cache_server: CacheServer) -> AsyncIterator[FaultProxy]:
    async with FaultProxy("127.0.0.1", cache_server.port) as proxy:
        yield proxy


def probing(cache: Cache) -> asyncio.Task[None]:
    """As the service does it, at shorter intervals."""
    return asyncio.create_task(every(0.05, "cache", cache.probe))


@asynccontextmanager
async def opened_cache(url: str) -> AsyncIterator[Cache]:
    """A cache as a service has it, its gate open."""
    opened = Cache(url)
    watching = probing(opened)
    try:
        await is_open(opened)
        yield opened
    finally:
        watching.cancel()
        await opened.close()


@pytest.fixture
async def cache(cache_server: CacheServer, cache_proxy: FaultProxy) -> AsyncIterator[Cache]:
    """One behind the proxy."""
    async with opened_cache(cache_server.url(cache_proxy.port)) as opened:
        yield opened


async def is_open(cache: Cache, *, expected: bool = True) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while cache.is_open is not expected:
            await asyncio.sleep(0.01)


@pytest.fixture
async def replicas(migrated: Postgres, provider_url: str) -> AsyncIterator[Replicas]:
    """Start services on one database; `changes` are of their configuration."""
    async with AsyncExitStack() as running:

        async def start(count: int, **changes: object) -> list[Service]:
            started = []
            for _ in range(count):
                service = Service(config_of(migrated, provider_url, **UNHURRIED, **changes))
                await service.start()
                running.push_async_callback(service.stop)
                service.health.phase = "running"
                if changes.get("cache_url"):
                    await is_open(service.cache)
                started.append(service)
            return started

        yield start
