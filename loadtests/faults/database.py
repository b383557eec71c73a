"""Faults of the database: locks, statements, sessions. Each goes through connections of its own."""

import asyncio
import contextlib

import asyncpg

from loadtests.faults.fault import Fault
from loadtests.world.interface import Mend, World
from stack.postgres import Role

HOLDER = "firedrill-drill"
"""What the application names begin with of the connections that break things."""
NAME_BYTES_MAX = 63
"""What is longer PostgreSQL cuts, and then no session is called so."""
LOCK_WAIT_SECONDS = 10
"""DDL waits for the requests in flight, and all that comes after waits with it: not for long."""

_held: list["asyncpg.Connection[asyncpg.Record]"] = []
_at_work: set["asyncio.Task[None]"] = set()


async def _connection(
    world: World, role: Role, name: str = HOLDER
) -> "asyncpg.Connection[asyncpg.Record]":
    settings = {"application_name": name, "lock_timeout": f"{LOCK_WAIT_SECONDS}s"}
    return await asyncpg.connect(world.dsn(role), timeout=10, server_settings=settings)


def _ending_sessions(world: World, role: Role, name: str = HOLDER) -> list[Mend]:
    return [{"kind": "end_sessions", "dsn": world.dsn(role), "application_name": name}]


def lock(table: str) -> Fault:
    """Hold ACCESS EXCLUSIVE on a table, as a forgotten migration does."""
    name = f"{HOLDER}-lock-{table}"[:NAME_BYTES_MAX]
    quoted = ".".join(f'"{part}"' for part in table.split("."))  # `user` is a word of SQL

    async def cause(world: World) -> None:
        connection = await _connection(world, "owner", name)
        _held.append(connection)
        await connection.execute(f"BEGIN; LOCK TABLE {quoted} IN ACCESS EXCLUSIVE MODE")

    return Fault(
        f"a second connection locks the table {table}",
        cause,
        lambda world: _ending_sessions(world, "owner", name),
    )


def sessions() -> Fault:
    """Open sessions, as a pool without a limit does, until the server refuses one."""

    async def cause(world: World) -> None:
        with contextlib.suppress(asyncpg.TooManyConnectionsError):
            while True:
                _held.append(await _connection(world, "app"))

    return Fault(
        "sessions of another program take every connection",
        cause,
        # Only the superuser still gets a connection.
        lambda world: _ending_sessions(world, "superuser"),
    )


def sql(what: str, statement: str, *, mend: str | None = None, role: Role = "superuser") -> Fault:
    """Run a statement. mend: undoes it, and must do nothing when there is nothing to undo."""

    async def cause(world: World) -> None:
        connection = await _connection(world, role)
        try:
            await connection.execute(statement)
        finally:
            await connection.close()

    def mends(world: World) -> list[Mend]:
        return [{"kind": "sql", "dsn": world.dsn(role), "statement": mend}] if mend else []

    return Fault(what, cause, mends)


def sql_repeated(what: str, statement: str, *, every_seconds: float) -> Fault:
    """Run a statement as the superuser again and again, until the mend ends its session."""
    name = f"{HOLDER}-repeated"

    async def repeat(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
        with contextlib.suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
            while True:
                await connection.execute(statement)
                await asyncio.sleep(every_seconds)

    async def cause(world: World) -> None:
        task = asyncio.create_task(repeat(await _connection(world, "superuser", name)))
        _at_work.add(task)
        task.add_done_callback(_at_work.discard)

    return Fault(what, cause, lambda world: _ending_sessions(world, "superuser", name))


def kill_connections(session_name: str, *, every_seconds: float) -> Fault:
    """End the sessions of an application name again and again, as a failover or an operator does."""
    quoted = session_name.replace("'", "''")
    return sql_repeated(
        "the service's sessions are ended",
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "  # noqa: S608 - quoted
        f"WHERE application_name = '{quoted}'",
        every_seconds=every_seconds,
    )


def column_away(table: str, column: str) -> Fault:
    """Rename a column: the same as dropped to the service, and nothing stored is lost."""
    rename = f"ALTER TABLE {table} RENAME COLUMN"
    back = (
        "DO $$ BEGIN IF EXISTS (SELECT FROM information_schema.columns "
        f"WHERE table_name = '{table}' AND column_name = '{column}_away') "
        f"THEN {rename} {column}_away TO {column}; END IF; END $$"
    )
    return sql(
        f"the column {table}.{column} is gone", f"{rename} {column} TO {column}_away", mend=back
    )
