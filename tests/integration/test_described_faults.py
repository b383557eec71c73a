"""What a drill asks of the database and the proxies before it breaks anything, on a real PostgreSQL."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest

from firedrill_kit.config import parse
from loadtests.drills.runner.described import check_fault
from loadtests.faults.database import lock
from loadtests.faults.mending import undo
from loadtests.world.description import Description, RefusedError
from stack.postgres import ROLES, Postgres
from tests.integration.answering import answering

SHOP = """
[service]
name = "shop"
[load.mix]
"GET /" = 1
[database]
admin_dsn = "$ADMIN_DSN"
application_name = "the shop"
proxy = 15433
[[drill]]
name = "lock"
break = {lock = "user"}
pages = ["DbPoolExhausted"]
within = 60
[[drill]]
name = "kill"
break = {kill_connections = 1}
pages = ["DbPoolExhausted"]
within = 60
[[drill]]
name = "cut"
break = {blackhole = "database"}
pages = ["DbPoolExhausted"]
within = 60
"""


class World:
    """The stack around a shop on this database. control: of the proxy before it."""

    def __init__(self, dsn: str, control: str = "") -> None:
        self.service = Description(parse(SHOP), {"ADMIN_DSN": dsn})
        self._control = control

    def dsn(self, _role: str) -> str:
        return self.service.admin_dsn

    def proxy_control(self, _part: str) -> str:
        return self._control


async def refused(world: World, drill: str) -> str:
    with pytest.raises(RefusedError) as error:
        await check_fault(world, drill)  # type: ignore[arg-type]
    assert "\n" not in str(error.value)
    return str(error.value)


@asynccontextmanager
async def connected(dsn: str, **settings: str) -> AsyncIterator[Any]:
    connection = await asyncpg.connect(dsn, server_settings=settings)
    try:
        yield connection
    finally:
        await connection.close()


@pytest.fixture
async def table(postgres: Postgres) -> AsyncIterator[None]:
    """Called by a word of SQL, as the table of many applications is."""
    async with connected(postgres.dsn("owner")) as owner:
        await owner.execute('CREATE TABLE "user" (id int); GRANT USAGE ON SCHEMA public TO PUBLIC')
        # The service's migrations, where a test has made them, give it rights on every new table.
        await owner.execute(f'REVOKE ALL ON "user" FROM {ROLES["app"]}')
        yield
        await owner.execute('DROP TABLE "user"')


async def test_an_address_that_does_not_answer_is_said_by_its_key(postgres: Postgres) -> None:
    dsn = postgres.dsn("owner").replace(f":{postgres.port}/", ":1/")

    assert (await refused(World(dsn), "lock")).startswith("database.admin_dsn: ")
    wrong = World("mysql://somewhere/else")
    assert (await refused(wrong, "lock")).startswith("database.admin_dsn: ")


async def test_a_table_that_is_not_there_is_refused(postgres: Postgres) -> None:
    said = await refused(World(postgres.dsn("owner")), "lock")

    assert said.startswith("drill.break.lock: the database has no table user;")


@pytest.mark.usefixtures("table")
async def test_a_role_that_may_not_lock_is_refused_and_one_that_may_is_not(
    postgres: Postgres,
) -> None:
    said = await refused(World(postgres.dsn("app")), "lock")

    assert said.startswith("database.admin_dsn: its role may not lock user; grant it UPDATE")
    await check_fault(World(postgres.dsn("owner")), "lock")  # type: ignore[arg-type]


@pytest.mark.usefixtures("table")
async def test_a_table_called_by_a_word_of_sql_is_locked_and_let_go(postgres: Postgres) -> None:
    fault, world = lock("user"), World(postgres.dsn("owner"))
    mends = fault.mends(world)  # type: ignore[arg-type]

    await fault.cause(world)  # type: ignore[arg-type]
    try:
        async with connected(postgres.dsn("owner"), lock_timeout="100ms") as other:
            with pytest.raises(asyncpg.LockNotAvailableError):
                await other.fetch('SELECT * FROM "user"')
    finally:
        assert await undo(mends) == []
    async with connected(postgres.dsn("owner"), lock_timeout="100ms") as other:
        assert await other.fetch('SELECT * FROM "user"') == []


async def test_connections_that_nobody_has_or_may_end_are_refused(postgres: Postgres) -> None:
    nobody = await refused(World(postgres.dsn("owner")), "kill")
    assert nobody.startswith("database.application_name: no connection is called the shop;")

    async with connected(postgres.dsn("owner"), application_name="the shop"):
        said = await refused(World(postgres.dsn("app")), "kill")
        assert said.startswith("database.admin_dsn: its role may not end the service's sessions;")
        await check_fault(World(postgres.dsn("owner")), "kill")  # type: ignore[arg-type]


async def test_a_proxy_that_nothing_goes_through_is_refused() -> None:
    async with answering(200, '{"accepted": 0, "listen": 15433}') as (url, _):
        said = await refused(World("", url), "cut")
    async with answering(200, '{"accepted": 3, "listen": 15433}') as (url, _):
        await check_fault(World("", url), "cut")  # type: ignore[arg-type]

    assert said.startswith("database.proxy: nothing goes through port 15433;")
