"""Each kind of fault, left behind by a runner that was killed: the system is whole again."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator

import asyncpg
import httpx
import psutil
import pytest

from loadtests.faults import mending
from loadtests.faults.database import lock
from loadtests.world.stage import Stage, stage_at
from stack.postgres import ROLES
from stack.processes import is_alive
from stack.settings import ROOT
from stack.waiting import until
from tests.stack.conftest import Stack

RUNNER = """
import asyncio, sys, time
from pathlib import Path
from loadtests.faults import database, files, mending, network, process, provider
from loadtests.world.stage import stage_at
from stack.settings import read_settings
settings = read_settings()
stage = stage_at(settings.local, settings.ports)
kinds = {name: one for file in (database, files, network, process, provider)
         for name, one in vars(file).items()}
one = eval(sys.argv[1], kinds)
async def main():
    async with mending.broken(stage, one):
        print("broken", flush=True)
        await asyncio.sleep(600)
with mending.Guard(settings.local, clean=False):
    asyncio.run(main())
"""


@pytest.fixture
def stage(stack: Stack) -> Iterator[Stage]:
    yield stage_at(stack.local, stack.ports, stack.variables)
    # The record goes last, after the effect that a test has seen; a lock ends even before the mending,
    # with the connection of the killed runner.
    until(lambda: not mending.record_of(stack.local).exists(), "the end of the record")


def run_and_kill(stack: Stack, one: str, is_broken: Callable[[], bool]) -> None:
    """Break something by a runner, see that it is broken, and kill the runner."""
    runner = subprocess.Popen(
        [sys.executable, "-c", RUNNER, one],
        cwd=ROOT,
        env=stack.environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert runner.stdout is not None
    with runner.stdout:
        assert runner.stdout.readline() == "broken\n"
        until(is_broken, f"the effect of {one}")
        os.kill(runner.pid, signal.SIGKILL)
        runner.wait()


def asked(stage: Stage, query: str) -> object:
    async def ask() -> object:
        connection = await asyncpg.connect(stage.dsn("superuser"))
        try:
            return await connection.fetchval(query)
        finally:
            await connection.close()

    return asyncio.run(ask())


LOCKS = (
    "SELECT count(*) FROM pg_locks JOIN pg_class ON pg_class.oid = relation"
    " WHERE relname = 'profiles' AND mode = 'AccessExclusiveLock' AND granted"
)
COLUMNS = (
    "SELECT count(*) FROM information_schema.columns"
    " WHERE table_name = 'profiles' AND column_name = 'locale'"
)


def test_a_lock_is_let_go(stack: Stack, stage: Stage) -> None:
    run_and_kill(stack, 'lock("profiles")', lambda: asked(stage, LOCKS) == 1)

    until(lambda: asked(stage, LOCKS) == 0, "the end of the lock")


def test_a_lock_of_a_connection_that_lives_on_is_let_go(stack: Stack, stage: Stage) -> None:
    async def held_and_mended() -> bool:
        async with mending.broken(stage, lock("profiles")):
            assert await asyncio.to_thread(asked, stage, LOCKS) == 1
        return await asyncio.to_thread(asked, stage, LOCKS) == 0

    assert asyncio.run(held_and_mended())


SESSIONS = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'firedrill-drill'"


def test_the_sessions_that_fill_the_server_are_ended(stack: Stack, stage: Stage) -> None:
    def filled() -> bool:
        count = asked(stage, SESSIONS)
        return isinstance(count, int) and count > 10

    run_and_kill(stack, "sessions()", filled)

    until(lambda: asked(stage, SESSIONS) == 0, "the end of the sessions")


def test_a_privilege_is_given_back(stack: Stack, stage: Stage) -> None:
    may = f"SELECT has_table_privilege('{ROLES['app']}', 'profiles', 'SELECT')"
    statement = f"REVOKE SELECT ON profiles FROM {ROLES['app']}"
    mend = f"GRANT SELECT ON profiles TO {ROLES['app']}"
    run_and_kill(
        stack, f"sql('revoked', {statement!r}, mend={mend!r})", lambda: asked(stage, may) is False
    )

    until(lambda: asked(stage, may) is True, "the privilege")


def test_a_column_is_back(stack: Stack, stage: Stage) -> None:
    one = 'column_away("profiles", "locale")'
    run_and_kill(stack, one, lambda: asked(stage, COLUMNS) == 0)

    until(lambda: asked(stage, COLUMNS) == 1, "the column")


def test_the_provider_is_normal_again(stack: Stack, stage: Stage) -> None:
    def refresh() -> int:
        form = {"grant_type": "refresh_token"}
        return httpx.post(stack.url("provider", "/token"), data=form).status_code

    normal = refresh()
    one = 'provider("503", token={"mode": "error_503"})'
    run_and_kill(stack, one, lambda: refresh() == httpx.codes.SERVICE_UNAVAILABLE)

    until(lambda: refresh() == normal, "the provider's normal answer")


def test_a_frozen_part_runs_on_with_its_children(stack: Stack, stage: Stage) -> None:
    parent = psutil.Process(stage.running()["postgres"].pid)
    before = {parent, *parent.children(recursive=True)}

    def stopped() -> list[psutil.Process]:
        alive = [process for process in before if process.is_running()]
        return [process for process in alive if process.status() == psutil.STATUS_STOPPED]

    run_and_kill(stack, 'freeze("postgres")', lambda: len(stopped()) > 1)

    until(lambda: not stopped(), "the end of the freeze")


def test_a_way_that_was_cut_is_open_again(stack: Stack, stage: Stage) -> None:
    """The shared stack has no proxy of its own: one is put beside it where the break looks for it."""
    port = stage.settings.proxy_port("provider")
    words = ["--listen", str(port), "--control", str(port + 1)]
    words += ["--target", f"127.0.0.1:{stack.ports['provider']}"]
    with subprocess.Popen([sys.executable, "-m", "stack.proxy", *words], cwd=ROOT) as proxy:
        try:

            def passes() -> bool:
                try:
                    return httpx.get(f"http://127.0.0.1:{port}/healthz", timeout=2).is_success
                except httpx.HTTPError:
                    return False

            until(passes, "the proxy")
            run_and_kill(stack, 'cut("provider", mode="refuse")', lambda: not passes())

            until(passes, "the way through the proxy")
        finally:
            proxy.terminate()


def test_the_signing_keys_are_the_old_ones_again(stack: Stack, stage: Stage) -> None:
    token = stack.token("user05@example.com")

    def status() -> int:
        headers = {"Authorization": f"Bearer {token}"}
        try:
            return httpx.get(
                stack.url("service", "/api/v1/profile"), headers=headers, timeout=20
            ).status_code
        except httpx.HTTPError:
            return 0

    assert status() == httpx.codes.OK
    run_and_kill(
        stack, 'new_token_keys("service-1")', lambda: status() == httpx.codes.UNAUTHORIZED
    )

    until(lambda: status() == httpx.codes.OK, "the caller's token to be good again")


@pytest.mark.parametrize("part", ["pager", "prometheus"])
def test_a_killed_part_is_started_again(stack: Stack, stage: Stage, part: str) -> None:
    before = stage.running()[part]
    run_and_kill(stack, f'kill("{part}")', lambda: not is_alive(before))

    until(lambda: stage.running().get(part, before) != before, "the new one")
