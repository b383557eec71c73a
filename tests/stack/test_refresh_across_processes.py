"""Real processes, a real database, the simulator as judge: one refresh per grant, whatever happens."""

import asyncio
import contextlib
import json
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest

from service.domains.calendar.vault import Vault
from service.migrations.commands import upgrade
from stack.postgres import Postgres
from stack.provider.app import Settings, serving
from tests.integration.conftest import config_of

ROOT = Path(__file__).parents[2]
GRANTS, CALLERS = 20, 50
LONG = {"OAUTH_LEASE_SECONDS": "60", "OAUTH_HTTP_SECONDS": "50"}
"""Longer than the busiest machine takes for a call: a call that times out after the provider has rotated
the token costs the grant."""
SHORT = {"OAUTH_LEASE_SECONDS": "8", "OAUTH_HTTP_SECONDS": "5"}
"""Short enough to wait for the lease of a dead process, where the provider forgives a second use."""


@pytest.fixture
async def google() -> AsyncIterator[httpx.AsyncClient]:
    async with serving(Settings()) as url, httpx.AsyncClient(base_url=url, timeout=30) as client:
        yield client


@pytest.fixture
async def accounts(postgres: Postgres, google: httpx.AsyncClient) -> AsyncIterator[list[int]]:
    """Accounts whose access token has just expired."""
    config = config_of(postgres)
    await upgrade(config, say=lambda _line: None)
    vault = Vault(config.grant_keys)
    owner = await asyncpg.connect(postgres.dsn("owner"))
    ids = []
    for number in range(GRANTS):
        minted = (await google.post("/_grants", json={"events": 0})).json()
        account_id = await owner.fetchval(
            "INSERT INTO accounts (email, password_hash) VALUES ($1, '') RETURNING id",
            f"refresh{number}@example.com",
        )
        await owner.execute(
            "INSERT INTO oauth_grants (account_id, provider, scope, access_token_enc,"
            " refresh_token_enc, expires_at) VALUES ($1, 'google', $2, $3, $4, now())",
            account_id,
            minted["scope"],
            vault.seal(minted["access_token"], account_id=account_id),
            vault.seal(minted["refresh_token"], account_id=account_id),
        )
        ids.append(account_id)
    yield ids
    await owner.execute("DELETE FROM accounts WHERE id = ANY($1)", ids)
    await owner.close()


StartWorker = Callable[[dict[str, str]], Awaitable[Process]]


@pytest.fixture
async def start(
    postgres: Postgres, google: httpx.AsyncClient, accounts: list[int]
) -> AsyncIterator[StartWorker]:
    environment = {
        **os.environ,
        "DATABASE_PORT": str(postgres.port),
        "DATABASE_PASSWORD": postgres.passwords["app"],
        "PROVIDER_URL": str(google.base_url).rstrip("/"),
        "GRANT_KEYS": f"g1={'g' * 32}",
        # Who asks the provider is tested here, not how busy the machine may be.
        "POOL_TIMEOUT_SECONDS": "60",
        "POOL_WAITERS_MAX": "100000",
        "CONNECT_TIMEOUT_SECONDS": "30",
        "STATEMENT_TIMEOUT_SECONDS": "20",
        "COMMAND_TIMEOUT_SECONDS": "25",
        "READ_DEADLINE_SECONDS": "30",
    }
    workers: list[Process] = []

    async def worker(lease: dict[str, str]) -> Process:
        arguments = ["-m", "tests.stack.refresh_worker", str(CALLERS), *map(str, accounts)]
        process = await asyncio.create_subprocess_exec(
            sys.executable, *arguments, cwd=ROOT, env=environment | lease, stdin=PIPE, stdout=PIPE
        )
        workers.append(process)
        assert await line_of(process) == "ready"
        return process

    yield worker
    for process in workers:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def line_of(process: Process) -> str:
    """The next line, without what is logged in between."""
    assert process.stdout is not None
    while line := (await process.stdout.readline()).decode():
        if line.startswith(("ready", "{")):
            return line.strip()
    raise AssertionError(f"the worker ended with {await process.wait()}")


def release(process: Process) -> None:
    assert process.stdin is not None
    process.stdin.write(b"go\n")


async def outcomes_of(process: Process) -> dict[str, int]:
    outcomes: dict[str, int] = json.loads(await line_of(process))
    return outcomes


async def verdict(google: httpx.AsyncClient) -> dict[str, Any]:
    totals: dict[str, Any] = (await google.get("/_judge")).json()["totals"]
    return totals


async def test_two_processes_with_a_thousand_callers_each_refresh_every_grant_once(
    start: StartWorker, google: httpx.AsyncClient
) -> None:
    await google.post("/_control", json={"rotation": "strict", "token_latency_ms": 200})
    workers = [await start(LONG) for _ in range(2)]

    for worker in workers:
        release(worker)
    outcomes = [await outcomes_of(worker) for worker in workers]

    assert outcomes == [{"ok": GRANTS * CALLERS}] * 2
    totals = await verdict(google)
    assert totals["token_calls"] == GRANTS
    assert totals["most_concurrent_token_calls_per_grant"] == 1
    assert totals["reuse_seen"] == 0


async def test_a_process_killed_in_the_middle_costs_the_other_its_lease_and_nobody_a_grant(
    start: StartWorker, google: httpx.AsyncClient
) -> None:
    control = {"rotation": "grace", "grace_seconds": 60, "token_latency_ms": 1500}
    await google.post("/_control", json=control)
    doomed, survivor = await start(SHORT), await start(SHORT)

    release(doomed)
    async with asyncio.timeout(60):
        while (asked := (await verdict(google))["token_calls"]) == 0:
            await asyncio.sleep(0.01)
    doomed.kill()
    release(survivor)
    outcomes = await outcomes_of(survivor)

    assert outcomes == {"ok": GRANTS * CALLERS}
    totals = await verdict(google)
    assert asked >= 1
    assert GRANTS < totals["token_calls"] <= 2 * GRANTS, "only what the dead one had begun, again"
    assert totals["most_concurrent_token_calls_per_grant"] == 1
    assert totals["reuse_seen"] == 0
