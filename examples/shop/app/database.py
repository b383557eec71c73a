"""The engine, and a session for each request."""

from collections.abc import Iterator
from typing import Annotated

from fastapi import Depends
from sqlmodel import Session, create_engine

from app.config import settings

engine = create_engine(
    settings.sqlalchemy_url,
    pool_size=5,
    max_overflow=10,
    pool_timeout=settings.pool_timeout_seconds,
)


def open_session() -> Iterator[Session]:
    with Session(engine) as session:
        yield session


SessionDep = Annotated[Session, Depends(open_session)]
