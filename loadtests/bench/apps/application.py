"""The application that every mode serves: `items` needs nothing, `profile` reads one row."""

import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, FastAPI, HTTPException
from pydantic import BaseModel, ConfigDict
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from loadtests.bench.apps.table import TABLE

POOL_SIZE = 20
"""More than the generator has connections: nobody waits for one."""


class _Base(DeclarativeBase):
    pass


class _Row(_Base):
    __tablename__ = TABLE

    id: Mapped[int] = mapped_column(primary_key=True)
    email: Mapped[str]
    display_name: Mapped[str]
    time_zone: Mapped[str]


class Person(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    id: int
    email: str
    display_name: str
    time_zone: str


@dataclass(frozen=True)
class Application:
    app: FastAPI
    engine: AsyncEngine


def application(**options: Any) -> Application:
    """Make it, on the database that BENCH_DATABASE_URL names. options: of FastAPI."""
    app = FastAPI(title="bench", **options)
    engine = create_async_engine(
        os.environ["BENCH_DATABASE_URL"], pool_size=POOL_SIZE, max_overflow=0
    )

    async def session() -> AsyncIterator[AsyncSession]:
        async with AsyncSession(engine) as one:
            yield one

    @app.get("/items/{item_id}")
    async def items(item_id: int) -> dict[str, int]:
        return {"id": item_id}

    @app.get("/profile/{person_id}", response_model=Person)
    async def profile(person_id: int, session: Annotated[AsyncSession, Depends(session)]) -> _Row:
        found = await session.get(_Row, person_id)
        if found is None:
            raise HTTPException(404)
        return found

    return Application(app, engine)
