"""A route that waits for a lock leaves connections to the others."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from firedrill_kit.telemetry.record import RequestRecord, begin
from service import failures
from service.config import Config
from service.database import Database
from service.failures import Failure
from stack.postgres import Postgres


@pytest.fixture
async def database(postgres: Postgres) -> AsyncIterator[Database]:
    """Three connections, of which a route may hold two."""
    config = Config.model_validate(
        {
            "database_port": postgres.port,
            "database_password": postgres.passwords["app"],
            "pool_size": 3,
            "connect_timeout_seconds": 60,
            "route_share_max": 0.5,
        }
    )
    opened = Database(config)
    yield opened
    await opened.close()


class Holders:
    """Requests of one route that hold what they have until they are let go."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._go = asyncio.Event()
        self.holding = 0
        self.tasks: list[asyncio.Task[None]] = []

    async def start(self, route: str, count: int) -> None:
        for _ in range(count):
            self.tasks.append(asyncio.create_task(self._hold(route)))
        while self.holding < count:
            await asyncio.sleep(0)

    async def end(self) -> None:
        self._go.set()
        await asyncio.gather(*self.tasks)

    async def _hold(self, route: str) -> None:
        begin(RequestRecord("GET", route))

        async def hold(session: AsyncSession) -> None:
            await session.execute(text("SELECT 1"))
            self.holding += 1
            await self._go.wait()

        await self._database.run(hold)


async def ask(database: Database, route: str) -> object:
    begin(RequestRecord("GET", route))
    return (await database.read(text("SELECT 1")))[0][0]


async def test_a_route_holds_no_more_than_its_share_and_others_are_served(
    database: Database,
) -> None:
    holders = Holders(database)
    await holders.start("/locked", 2)

    refused = asyncio.create_task(ask(database, "/locked"))
    while not database.pool.meter.waiting:
        assert not refused.done()
        await asyncio.sleep(0)
    assert await asyncio.create_task(ask(database, "/other")) == 1
    assert await database.read(text("SELECT 2"))

    with pytest.raises(Failure) as caught:
        await refused
    assert (caught.value.mode, caught.value.cause) == (
        failures.DB_POOL_EXHAUSTED,
        "pool_timeout",
    )
    assert database.pool.meter.waiting == 0
    await holders.end()
    assert await asyncio.create_task(ask(database, "/locked")) == 1
