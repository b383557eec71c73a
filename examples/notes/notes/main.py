"""The application: `uvicorn notes.main:app`."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

import firedrill_kit
from notes import about, errors, logs, notebook, sign_in
from notes.database import engine

logs.set_up()


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    yield
    await engine.dispose()


app = FastAPI(title="Notes", lifespan=lifespan)
errors.install(app)
app.include_router(sign_in.router)
app.include_router(notebook.router)
app.mount("/about", about.app)


@app.get("/ping")
async def ping() -> str:
    """Whether the process answers; the database is not asked."""
    return "pong"


firedrill_kit.instrument(app, engine=engine)
