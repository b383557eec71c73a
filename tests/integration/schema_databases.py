"""Databases of one's own on the shared server, for tests that change the schema."""

import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine
from sqlalchemy.pool import NullPool

from service.config import Config
from service.migrations import commands
from stack.postgres import Postgres, Role

_numbers = itertools.count(1)


@asynccontextmanager
async def empty_database(postgres: Postgres) -> AsyncIterator[Config]:
    """Yield the configuration of a database that has nothing in it."""
    name = f"schema_{next(_numbers)}"
    admin = await asyncpg.connect(postgres.dsn("superuser"))
    try:
        await admin.execute(f"CREATE DATABASE {name} OWNER firedrill_owner")
        yield Config.model_validate(
            {
                "database_port": postgres.port,
                "database_name": name,
                "database_password": postgres.passwords["app"],
                "migration_password": postgres.passwords["owner"],
                "pool_size": 2,
            }
        )
    finally:
        await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
        await admin.close()


@asynccontextmanager
async def database_at(postgres: Postgres, revision: str) -> AsyncIterator[Config]:
    """Yield the configuration of a database at the revision."""
    async with empty_database(postgres) as config:
        await upgrade(config, revision)
        yield config


async def upgrade(config: Config, revision: str = "head") -> list[str]:
    """Upgrade and return what was said."""
    said: list[str] = []
    await commands.upgrade(config, revision=revision, say=said.append)
    return said


@asynccontextmanager
async def connected(
    postgres: Postgres, config: Config, role: Role
) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    connection = await asyncpg.connect(postgres.dsn(role), database=config.database_name)
    try:
        yield connection
    finally:
        await connection.close()


@asynccontextmanager
async def transaction(
    postgres: Postgres, config: Config, role: Role
) -> AsyncIterator[AsyncConnection]:
    """Yield a SQLAlchemy connection whose work is rolled back."""
    url = make_url(postgres.dsn(role)).set(
        drivername="postgresql+asyncpg", database=config.database_name
    )
    engine = create_async_engine(url, poolclass=NullPool)
    async with engine.connect() as connection:
        yield connection
        await connection.rollback()
    await engine.dispose()
