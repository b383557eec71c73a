"""What stands around the service: PostgreSQL, the provider, a collector, a cache where this machine has
one, and a fault proxy before each.
"""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import uvicorn

from loadtests.world import plain_app
from loadtests.world.collector import collecting
from loadtests.world.description import DEMO, SERVED, Release
from loadtests.world.errors import CannotRunError
from loadtests.world.interface import Mend
from service.config import Config
from service.migrations.commands import Refused, upgrade
from stack import demo
from stack.cache import CacheServer
from stack.postgres import Postgres, Role
from stack.processes import Running, running_as, start, stop
from stack.programs import CACHE, find_programs
from stack.provider.app import Settings, serving
from stack.proxy import FaultProxy
from stack.proxy.__main__ import control_app
from stack.readiness import answers
from stack.serving import LOOPBACK, free_port, guest
from stack.settings import ROOT

READY_SECONDS = 60.0


class ServiceNotReadyError(CannotRunError):
    """The service did not start; the text is the last line it wrote."""


@dataclass(frozen=True)
class Process:
    """A running replica: its public port, and where its operators ask it."""

    port: int
    internal_url: str
    running: Running


@dataclass
class Surroundings:
    """A light world: what a replica needs. environment: of the replicas. replicas: those that run now."""

    local: Path
    postgres: Postgres
    proxies: Mapping[str, FaultProxy]
    controls: Mapping[str, str]
    provider_url: str
    environment: Mapping[str, str]
    replicas: list[Process] = field(default_factory=list)
    release: Release | None = None
    cache: CacheServer | None = None
    is_in_process = True

    @property
    def config(self) -> Config:
        return Config.model_validate(
            {name.lower(): value for name, value in self.environment.items()}
        )

    def dsn(self, role: Role) -> str:
        return self.postgres.dsn(role)

    def port(self, part: str) -> int:
        return self.proxies[part].target[1]

    def proxy_control(self, part: str) -> str:
        return self.controls[part]

    def running(self) -> Mapping[str, Running]:
        return {
            **{one.running.name: one.running for one in self.replicas},
            "postgres": running_as("postgres", self.postgres.pid, stop_signal=signal.SIGINT),
        }

    async def ask(self, query: str, *arguments: object) -> Any:
        """One value, as the superuser."""
        connection = await asyncpg.connect(self.dsn("superuser"))
        try:
            return await connection.fetchval(query, *arguments)
        finally:
            await connection.close()

    async def restart(self, part: str) -> None:
        """Restart PostgreSQL, the only part with a program of its own. Raises KeyError, PostgresError."""
        if part != "postgres":
            raise KeyError(part)
        await asyncio.to_thread(self.postgres.restart)

    def mends_of_stop(self, *_restarted: str) -> list[Mend]:
        """Nothing: no other process can start its parts."""
        return []

    def mends_of_end(self) -> list[Mend]:
        """What takes away that which outlives this process, should it be killed."""
        replicas = [asdict(one.running) for one in self.replicas]
        if self.cache is not None:
            replicas.append(asdict(running_as("cache", self.cache.pid)))
        return [
            {"kind": "remove", "directory": str(self.local)},
            {"kind": "stop", "processes": replicas},
        ]


@asynccontextmanager
async def surroundings(local: Path | None = None) -> AsyncIterator[Surroundings]:
    """Start it all on free ports, with the demo users in the database; stop it at the end.

    local: an empty directory; None: one that is taken away. Raises stack.postgres.PostgresError, and
    ServiceNotReadyError where another service is meant.
    """
    if not SERVED.is_demo:
        raise ServiceNotReadyError("SERVICE is set, and this is for the demo alone: unset it")
    async with contextlib.AsyncExitStack() as stack:
        directory = local or Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="surroundings-"))
        )
        postgres = await stack.enter_async_context(Postgres(directory, free_port()))
        provider_url = await stack.enter_async_context(serving(Settings()))
        ports: dict[str, int] = {
            "postgres": postgres.port,
            "provider": int(provider_url.rpartition(":")[2]),
            "collector": await stack.enter_async_context(collecting()),
        }
        cache = None
        if program := find_programs().get(CACHE):
            cache = stack.enter_context(CacheServer(directory / "cache", free_port(), program))
            ports["cache"] = cache.port
        proxies = {
            part: await stack.enter_async_context(FaultProxy(LOOPBACK, port))
            for part, port in ports.items()
        }
        controls = {
            part: await stack.enter_async_context(
                guest(uvicorn.Config(control_app(proxy), log_config=None, access_log=False))
            )
            for part, proxy in proxies.items()
        }
        around = Surroundings(
            local=directory,
            postgres=postgres,
            proxies=proxies,
            controls=controls,
            provider_url=provider_url,
            cache=cache,
            environment={
                "DATABASE_PORT": str(proxies["postgres"].port),
                "DATABASE_PASSWORD": postgres.passwords["app"],
                "MIGRATION_PASSWORD": postgres.passwords["owner"],
                "PROVIDER_URL": f"http://{LOOPBACK}:{proxies['provider'].port}",
                "OTLP_ENDPOINT": f"http://{LOOPBACK}:{proxies['collector'].port}",
                "TOKEN_KEYS": "drill-1=" + "k" * 32,
                "LEGACY_TOKEN_KEYS": "legacy-1=" + "l" * 32,
                "GRANT_KEYS": "drill-1=" + "g" * 32,
                "SESSION_KEY": "s" * 32,
                "LOG_FORMAT": "json",
                **(
                    {"CACHE_URL": cache.url(proxies["cache"].port), "CACHE_SETTINGS": "true"}
                    if cache
                    else {}
                ),
            },
        )
        try:
            await upgrade(around.config, say=lambda _line: None)
        except Refused as error:
            raise ServiceNotReadyError(f"migrations: {error}") from error
        await demo.seed(around.config)
        yield around


@asynccontextmanager
async def running(program: str, around: Surroundings) -> AsyncIterator[Process]:
    """Run a replica until the block ends. program: one of the description.

    Raises ServiceNotReadyError.
    """
    port, internal_port = free_port(), free_port()
    log = around.local / f"replica-{port}.log"
    started, process = start(
        f"replica-{port}",
        [sys.executable, "-m", program],
        log=log,
        environment={
            **os.environ,
            **around.environment,
            **(plain_app.ENVIRONMENT if program == DEMO.plain_program else {}),
            "SERVICE_PORT": str(port),
            "SERVICE_INTERNAL_PORT": str(internal_port),
        },
        directory=ROOT,
        user=None,
        stop_signal=signal.SIGTERM,
    )
    replica = Process(port, f"http://{LOOPBACK}:{internal_port}", started)
    around.replicas.append(replica)
    try:
        if not await _becomes_ready(process, internal_port):
            lines = log.read_text(errors="replace").strip().splitlines()
            raise ServiceNotReadyError(lines[-1] if lines else "it wrote nothing")
        yield replica
    finally:
        around.replicas.remove(replica)
        await asyncio.to_thread(stop, [started])


async def _becomes_ready(process: subprocess.Popen[bytes], internal_port: int) -> bool:
    is_ready = answers(internal_port, "/readyz")
    give_up_at = time.monotonic() + READY_SECONDS
    while process.poll() is None and time.monotonic() < give_up_at:
        if await asyncio.to_thread(is_ready):
            return True
        await asyncio.sleep(0.05)
    return False


async def readiness(process: Process) -> int:
    """Return the status of `/readyz`; 0 when it does not answer within a second."""
    try:
        async with httpx.AsyncClient(trust_env=False, timeout=1) as http:
            return (await http.get(f"{process.internal_url}/readyz")).status_code
    except httpx.HTTPError:
        return 0


async def versions(around: Surroundings) -> dict[str, str]:
    """Return the version of the database server, as `SHOW server_version` says it."""
    return {"postgresql": await around.ask("SHOW server_version")}
