"""SIGTERM to a service process as it is shipped: nothing in flight is lost, and it is gone within 5 s."""

import asyncio
import os
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
import uvicorn
from starlette.applications import Starlette

from service.app import SHIPPED, Service
from service.config import Config
from service.health import Health
from service.process import PublicServer, serve
from stack.postgres import Postgres
from stack.serving import free_port
from stack.waiting import until_true
from tests.integration.conftest import KEY, Owner, Someone, config_of
from tests.integration.public_server import PATIENCE_SECONDS

STOP_SECONDS = Config.model_fields["stop_seconds"].default
LOCK_SECONDS = 2.0
PATIENT = {
    # Of the statement, so that a lock of two seconds is waited for and not answered with 503.
    "LOCK_TIMEOUT_SECONDS": "20",
    "STATEMENT_TIMEOUT_SECONDS": "21",
    "COMMAND_TIMEOUT_SECONDS": "22",
    "READ_DEADLINE_SECONDS": "23",
}


@dataclass(frozen=True)
class Running:
    process: asyncio.subprocess.Process
    port: int
    internal_port: int

    async def profile(self, someone: Someone, **more: Any) -> httpx.Response:
        """Read it, or with a body write it."""
        url = f"http://127.0.0.1:{self.port}/api/v1/profile"
        async with httpx.AsyncClient(timeout=PATIENCE_SECONDS, headers=someone.headers) as client:
            return await client.request("PUT" if more else "GET", url, **more)

    async def is_ready(self) -> bool:
        assert self.process.returncode is None, "it ended at its start"
        try:
            async with httpx.AsyncClient() as client:
                answer = await client.get(f"http://127.0.0.1:{self.internal_port}/readyz")
        except httpx.HTTPError:
            return False
        return answer.status_code == httpx.codes.OK

    async def is_unready(self) -> bool:
        return not await self.is_ready()

    async def refuses(self) -> bool:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", self.port)
        except ConnectionRefusedError:
            return True
        writer.close()
        return False

    async def end(self) -> int:
        async with asyncio.timeout(PATIENCE_SECONDS):
            return await self.process.wait()


@asynccontextmanager
async def running(postgres: Postgres, otlp_endpoint: str = "") -> AsyncIterator[Running]:
    port, internal_port = free_port(), free_port()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "service"),
        env={
            **os.environ,
            **PATIENT,
            "DATABASE_PORT": str(postgres.port),
            "DATABASE_PASSWORD": postgres.passwords["app"],
            "TOKEN_KEYS": f"a={KEY}",
            "GRANT_KEYS": f"g1={'g' * 32}",
            "SESSION_KEY": "s" * 32,
            "OTLP_ENDPOINT": otlp_endpoint,
            "SERVICE_PORT": str(port),
            "SERVICE_INTERNAL_PORT": str(internal_port),
        },
        stdout=asyncio.subprocess.DEVNULL,
    )
    try:
        service = Running(process, port, internal_port)
        await until_true(service.is_ready, "a service that is ready")
        yield service
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


@asynccontextmanager
async def request_that_waits(
    service: Running, owner: Owner, someone: Someone
) -> AsyncIterator[asyncio.Task[httpx.Response]]:
    """A read in flight, which waits for a table lock until the block ends."""
    content = {"display_name": "Ada", "time_zone": "UTC", "locale": "en-GB", "bio": None}
    (await service.profile(someone, json=content)).raise_for_status()
    lock = owner.transaction()
    await lock.start()
    try:
        await owner.execute("LOCK TABLE profiles IN ACCESS EXCLUSIVE MODE")
        request = asyncio.create_task(service.profile(someone))

        async def waits() -> bool:
            assert not request.done(), request
            waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted"
            return bool(await owner.fetchval(waiting))

        await until_true(waits, "a request that waits for the lock")
        yield request
    finally:
        await lock.rollback()


async def test_a_request_in_flight_is_answered_and_new_ones_are_refused(
    migrated: Postgres, owner: Owner, someone: Someone
) -> None:
    async with running(migrated) as service:
        async with request_that_waits(service, owner, someone) as request:
            started = time.monotonic()
            service.process.send_signal(signal.SIGTERM)
            await until_true(service.is_unready, "a service that says it stops")
            assert not await service.refuses(), "a balancer has had no time to leave"
            await until_true(service.refuses, "a closed port")
            await asyncio.sleep(started + LOCK_SECONDS - time.monotonic())
            assert not request.done()
        answer = await request
        code = await service.end()
        seconds = time.monotonic() - started

    assert answer.status_code == 200, answer.text
    assert code == 0
    assert LOCK_SECONDS < seconds < STOP_SECONDS


async def test_a_signal_that_comes_during_the_start_keeps_it_out_of_the_balancer() -> None:
    health = Health()
    health.phase = "stopping"
    config = uvicorn.Config(Starlette(), port=free_port(), log_config=None, lifespan="off")
    public = PublicServer(config, health)
    public.should_exit = True

    await public.serve()

    assert public.started
    assert health.phase == "stopping"


async def test_a_start_that_fails_closes_what_it_has_opened(
    monkeypatch: pytest.MonkeyPatch, migrated: Postgres
) -> None:
    """The port of the health checks is taken: the connections and the exporter have been opened by then."""
    stopped: list[Service] = []

    async def stop(service: Service) -> None:
        stopped.append(service)
        await stop_service(service)

    stop_service, handler = Service.stop, signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(Service, "stop", stop)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        config = config_of(migrated, service_internal_port=taken.getsockname()[1])
        with pytest.raises(OSError, match="set SERVICE_INTERNAL_PORT to a free one"):
            await serve(config, SHIPPED)

    assert len(stopped) == 1
    assert signal.getsignal(signal.SIGTERM) == handler


async def test_what_cannot_end_in_time_does_not_prolong_the_stop(
    migrated: Postgres, owner: Owner, someone: Someone
) -> None:
    """A request that waits for ever, and a collector that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as collector:
        endpoint = f"http://127.0.0.1:{collector.getsockname()[1]}"
        async with running(migrated, endpoint) as service:
            async with request_that_waits(service, owner, someone) as request:
                started = time.monotonic()
                service.process.send_signal(signal.SIGTERM)
                code = await service.end()
                seconds = time.monotonic() - started
            with pytest.raises((httpx.HTTPError, AssertionError)):
                assert (await request).status_code < 500

    assert code == 0
    assert seconds < STOP_SECONDS
