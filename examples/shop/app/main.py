"""The application: `uvicorn app.main:app --workers 4`."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from anyio.to_thread import current_default_thread_limiter
from fastapi import APIRouter, FastAPI

import firedrill_kit
from app.config import settings
from app.database import engine
from app.routes import items, login, users, utils


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    current_default_thread_limiter().total_tokens = settings.threads
    yield


api = APIRouter(prefix="/api/v1")
for module in (login, users, items, utils):
    api.include_router(module.router)

app = FastAPI(title="Shop", openapi_url="/api/v1/openapi.json", lifespan=lifespan)
app.include_router(api)
firedrill_kit.instrument(app, engine=engine)
