"""What the exporter asks PostgreSQL, asked with its role: who holds connections, and who holds locks."""

import asyncio
from pathlib import Path
from typing import Any, Self

import asyncpg
import pytest
import yaml

from stack.postgres import Postgres, Role
from stack.serving import free_port
from stack.settings import ROOT

QUERIES: dict[str, Any] = yaml.safe_load((ROOT / "stack" / "postgres_exporter.yaml").read_text())

Rows = list[dict[str, Any]]


async def asked(server: Postgres, name: str) -> Rows:
    monitor = await asyncpg.connect(server.dsn("monitor"))
    try:
        rows = [dict(row) for row in await monitor.fetch(QUERIES[name]["query"])]
    finally:
        await monitor.close()
    described = {column for metric in QUERIES[name]["metrics"] for column in metric}
    assert all(set(row) == described for row in rows)
    return rows


class Sessions:
    """Sessions of several clients on one server; leaving the context drops them."""

    def __init__(self, server: Postgres) -> None:
        self._server = server
        self.open: list[asyncpg.Connection[Any]] = []

    async def begin(self, client: str, *, role: Role = "app") -> "asyncpg.Connection[Any]":
        settings = {"application_name": client}
        session = await asyncpg.connect(self._server.dsn(role), server_settings=settings)
        self.open.append(session)
        return session

    async def begin_until_refused(self, client: str) -> None:
        while True:
            await self.begin(client)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for session in self.open:
            session.terminate()


async def test_a_full_server_still_says_who_holds_its_connections(tmp_path: Path) -> None:
    async with (
        Postgres(tmp_path, free_port(), {"max_connections": 20}) as server,
        Sessions(server) as sessions,
    ):
        with pytest.raises(asyncpg.TooManyConnectionsError):
            await sessions.begin_until_refused("nightly-report")
        held = len(sessions.open)
        rows = await asked(server, "pg_client")
        ((limit,),) = [row.values() for row in await asked(server, "pg_client_connections")]
        owner = await sessions.begin("psql", role="owner")
        ended = await owner.fetchval(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
            " WHERE application_name = 'nightly-report'"
        )

    assert rows[0] == {
        "usename": "firedrill_app",
        "application_name": "nightly-report",
        "client_addr": "127.0.0.1",
        "state": "idle",
        "connections": limit,
    }
    assert limit == held == ended == 14


async def blocker_of(server: Postgres, *, waiters: int) -> dict[str, Any]:
    while True:
        rows = await asked(server, "pg_blocker")
        if [row["waiting_sessions"] for row in rows] == [waiters]:
            return rows[0]


async def test_the_holder_of_a_lock_is_named_with_the_table_and_all_who_wait(
    tmp_path: Path,
) -> None:
    async with Postgres(tmp_path, free_port()) as server, Sessions(server) as sessions:
        owner = await sessions.begin("psql", role="owner")
        await owner.execute("CREATE TABLE profiles (id int); INSERT INTO profiles VALUES (1)")
        await owner.execute("GRANT USAGE ON SCHEMA public TO firedrill_app")
        await owner.execute("GRANT SELECT, UPDATE ON profiles TO firedrill_app")
        holder = await sessions.begin("report")
        waiters = [await sessions.begin("firedrill-api") for _ in range(3)]
        assert await asked(server, "pg_blocker") == []
        async with holder.transaction():
            await holder.execute("UPDATE profiles SET id = 2")
            waiting = [
                asyncio.create_task(waiter.execute("UPDATE profiles SET id = 3"))
                for waiter in waiters
            ]
            row = await blocker_of(server, waiters=3)
        await asyncio.gather(*waiting)
        pid = holder.get_server_pid()

    assert row.pop("transaction_seconds") > 0
    assert row == {
        "pid": str(pid),
        "usename": "firedrill_app",
        "application_name": "report",
        "client_addr": "127.0.0.1",
        "state": "idle in transaction",
        "relname": "profiles",
        "waiting_sessions": 3,
    }
