"""What stands around the service: PostgreSQL, the provider, a collector, and a fault proxy before each."""

import asyncio
import contextlib
import os
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import asyncpg
import httpx

from loadtests.world.collector import collecting
from service.config import Config
from service.migrations.commands import upgrade
from stack import demo
from stack.postgres import Postgres, Role
from stack.provider.app import Settings, serving
from stack.proxy import FaultProxy
from stack.serving import free_port

READY_SECONDS = 60.0
STOP_SECONDS = 10.0

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"


class ServiceNotReadyError(Exception):
    """The service did not start; the text is the last line it wrote."""


@dataclass
class Surroundings:
    """owner, superuser: second connections to the database, past the proxy. environment: what the
    service is told.
    """

    postgres: Postgres
    database_proxy: FaultProxy
    provider_proxy: FaultProxy
    collector_proxy: FaultProxy
    provider_url: str
    environment: Mapping[str, str]
    owner: Connection
    superuser: Connection

    @property
    def config(self) -> Config:
        """The configuration that the environment says."""
        return Config.model_validate(
            {name.lower(): value for name, value in self.environment.items()}
        )

    async def restart_postgres(self) -> None:
        await asyncio.to_thread(self.postgres.restart)
        self.owner = await _connect(self.postgres, "owner")
        self.superuser = await _connect(self.postgres, "superuser")


@dataclass(frozen=True)
class Process:
    """A running service: its public port, and where it tells how it is."""

    port: int
    internal_url: str


@asynccontextmanager
async def surroundings() -> AsyncIterator[Surroundings]:
    """Start it all on free ports, with the demo users in the database; stop it at the end.

    Raises stack.postgres.PostgresError.
    """
    async with contextlib.AsyncExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="resilience-")))
        postgres = await stack.enter_async_context(Postgres(directory, free_port()))
        provider_url = await stack.enter_async_context(serving(Settings()))
        collector_port = await stack.enter_async_context(collecting())

        async def proxy(port: int) -> FaultProxy:
            return await stack.enter_async_context(FaultProxy("127.0.0.1", port))

        database_proxy = await proxy(postgres.port)
        provider_proxy = await proxy(int(provider_url.rpartition(":")[2]))
        collector_proxy = await proxy(collector_port)
        around = Surroundings(
            postgres=postgres,
            database_proxy=database_proxy,
            provider_proxy=provider_proxy,
            collector_proxy=collector_proxy,
            provider_url=provider_url,
            environment={
                "DATABASE_PORT": str(database_proxy.port),
                "DATABASE_PASSWORD": postgres.passwords["app"],
                "MIGRATION_PASSWORD": postgres.passwords["owner"],
                "PROVIDER_URL": f"http://127.0.0.1:{provider_proxy.port}",
                "OTLP_ENDPOINT": f"http://127.0.0.1:{collector_proxy.port}",
                "TOKEN_KEYS": "drill-1=" + "k" * 32,
                "LEGACY_TOKEN_KEYS": "legacy-1=" + "l" * 32,
                "GRANT_KEYS": "drill-1=" + "g" * 32,
                "SESSION_KEY": "s" * 32,
                "LOG_FORMAT": "json",
            },
            owner=await _connect(postgres, "owner"),
            superuser=await _connect(postgres, "superuser"),
        )
        await upgrade(around.config, say=lambda _line: None)
        await demo.seed(around.config)
        yield around
        await around.owner.close()
        await around.superuser.close()


@asynccontextmanager
async def running(
    module: str, around: Surroundings, more: Mapping[str, str]
) -> AsyncIterator[Process]:
    """Run a service until the block ends. module: as in `python -m`. more: environment variables.

    Raises ServiceNotReadyError.
    """
    port, internal_port = free_port(), free_port()
    process_environment = {
        **os.environ,
        **around.environment,
        **more,
        "SERVICE_PORT": str(port),
        "SERVICE_INTERNAL_PORT": str(internal_port),
    }
    with tempfile.TemporaryFile() as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", module, env=process_environment, stdout=log, stderr=log
        )
        try:
            internal_url = f"http://127.0.0.1:{internal_port}"
            if not await _becomes_ready(process, internal_url):
                log.seek(0)
                lines = log.read().decode(errors="replace").strip().splitlines()
                raise ServiceNotReadyError(lines[-1] if lines else "it wrote nothing")
            yield Process(port, internal_url)
        finally:
            await _stop(process)


async def _becomes_ready(process: asyncio.subprocess.Process, internal_url: str) -> bool:
    loop = asyncio.get_running_loop()
    give_up_at = loop.time() + READY_SECONDS
    async with httpx.AsyncClient(trust_env=False) as http:
        while process.returncode is None and loop.time() < give_up_at:
            with contextlib.suppress(httpx.HTTPError):
                answer = await http.get(f"{internal_url}/readyz")
                if answer.status_code == httpx.codes.OK:
                    return True
            await asyncio.sleep(0.05)
    return False


async def _stop(process: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    try:
        async with asyncio.timeout(STOP_SECONDS):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()


async def readiness(process: Process) -> int:
    """Return the status of `/readyz`; 0 when it does not answer within a second."""
    try:
        async with httpx.AsyncClient(trust_env=False, timeout=1) as http:
            return (await http.get(f"{process.internal_url}/readyz")).status_code
    except httpx.HTTPError:
        return 0


async def connections_left(process: Process, around: Surroundings) -> dict[str, int]:
    """Return what an idle service still holds: checked out of its pool, idle in a transaction."""
    name = "db_client_connection_count"
    async with httpx.AsyncClient(trust_env=False) as http:
        text = (await http.get(f"{process.internal_url}/metrics")).text
    checked_out = sum(
        float(line.rpartition(" ")[2])
        for line in text.splitlines()
        if line.startswith(name) and 'state="used"' in line
    )
    idle = await around.superuser.fetchval(
        "SELECT count(*) FROM pg_stat_activity "
        "WHERE application_name = 'firedrill-api' AND state LIKE 'idle in transaction%'"
    )
    return {"checked_out": int(checked_out), "idle_in_transaction": idle}


async def versions(around: Surroundings) -> dict[str, str]:
    """Return the version of the database server, as `SHOW server_version` says it."""
    return {"postgresql": await around.superuser.fetchval("SHOW server_version")}


async def _connect(postgres: Postgres, role: Role) -> Connection:
    return await asyncpg.connect(postgres.dsn(role))
