"""PostgreSQL out of its wheel: its roles, and what survives how it is stopped."""

import socket
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import psutil
import pytest

from stack import postgres
from stack.postgres import Postgres, PostgresError, Role
from stack.serving import free_port


@pytest.fixture(scope="module")
async def running(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Postgres]:
    async with Postgres(tmp_path_factory.mktemp("server"), free_port()) as server:
        yield server


@pytest.fixture
async def server(running: Postgres) -> AsyncIterator[Postgres]:
    """The module's server, running again and with its schema empty after the test."""
    passwords = dict(running.passwords)
    yield running
    if not postgres.is_ready(running.home, running.port):
        running.stop_immediately()
        running.start()
    running.passwords = passwords
    await postgres.create_roles(running.port, passwords)
    await ask(running, "owner", "DROP SCHEMA public CASCADE")
    await ask(running, "superuser", "CREATE SCHEMA public AUTHORIZATION firedrill_owner")
    await postgres.create_roles(running.port, passwords)


async def ask(server: Postgres, role: Role, statement: str) -> object:
    connection = await asyncpg.connect(server.dsn(role), timeout=10)
    try:
        return await connection.fetchval(statement)
    finally:
        await connection.close()


async def test_each_role_may_do_its_work_and_no_more(server: Postgres) -> None:
    await ask(server, "owner", "CREATE TABLE things (id int)")

    reads = "SELECT pg_has_role(current_user, 'pg_monitor', 'member')"
    may = {role: await ask(server, role, reads) for role in ("owner", "app", "monitor")}
    assert may == {"owner": True, "app": False, "monitor": True}, "the owner sees who fills it"
    for role in ("app", "monitor"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await ask(server, role, "CREATE TABLE public.others (id int)")
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await ask(server, role, "SELECT count(*) FROM public.things")
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await ask(server, role, "CREATE TEMPORARY TABLE others (id int)")


async def test_a_wrong_password_opens_nothing(server: Postgres) -> None:
    server.passwords["app"] = "guess"

    with pytest.raises(asyncpg.InvalidPasswordError):
        await ask(server, "app", "SELECT 1")


async def test_making_the_roles_again_sets_the_passwords(server: Postgres) -> None:
    server.passwords["app"] = "a'quoted\\one"

    await postgres.create_roles(server.port, server.passwords)

    assert await ask(server, "app", "SELECT current_user") == "firedrill_app"


@pytest.mark.parametrize("stop", ["stop", "stop_immediately", "kill"])
async def test_committed_rows_survive_every_way_to_stop(server: Postgres, stop: str) -> None:
    await ask(server, "owner", "CREATE TABLE kept AS SELECT 42 AS answer")

    getattr(server, stop)()
    with pytest.raises(ConnectionRefusedError):
        await ask(server, "owner", "SELECT 1")
    server.start()

    assert await ask(server, "owner", "SELECT answer FROM kept") == 42


async def test_a_paused_server_is_stopped_all_the_same(server: Postgres) -> None:
    server.pause()

    server.stop()

    with pytest.raises(ConnectionRefusedError):
        await ask(server, "owner", "SELECT 1")


async def test_no_value_reaches_the_log(server: Postgres) -> None:
    await ask(server, "owner", "CREATE TABLE people (name text PRIMARY KEY)")
    await ask(server, "owner", "INSERT INTO people VALUES ('planted-secret')")

    with pytest.raises(asyncpg.UniqueViolationError):
        await ask(server, "owner", "INSERT INTO people VALUES ('planted-secret')")

    log = (server.directory / "postgres.log").read_text()
    assert "duplicate key value violates unique constraint" in log
    assert "planted-secret" not in log


async def test_the_server_never_runs_as_root(server: Postgres) -> None:
    owners = {
        process.info["username"]
        for process in psutil.process_iter(["username", "cmdline"])
        if str(server.home) in " ".join(process.info["cmdline"] or [])
    }

    assert owners == {postgres.account() or psutil.Process().username()}
    assert "root" not in owners


async def test_a_taken_port_is_said_by_the_servers_last_line(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        server = Postgres(tmp_path, other.getsockname()[1])

        with pytest.raises(PostgresError, match="did not start"):
            async with server:
                pass

    postgres.remove(tmp_path)


async def test_leaving_the_context_removes_the_data(tmp_path: Path) -> None:
    async with Postgres(tmp_path, free_port()) as server:
        home = server.home
        assert home.exists()

    assert not home.exists()
