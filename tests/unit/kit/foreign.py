"""An application of somebody else's, with all that FastAPI and Starlette offer, to put the kit on."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Annotated, Any

from fastapi import (
    APIRouter,
    BackgroundTasks,
    Depends,
    FastAPI,
    HTTPException,
    Request,
    Response,
    WebSocket,
)
from fastapi.exceptions import RequestValidationError
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import JSONResponse, PlainTextResponse, StreamingResponse
from pydantic import BaseModel, Field
from starlette.applications import Starlette
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

STATUSES = (400, 401, 402, 403, 404, 405, 409, 410, 415, 418, 422, 429, 500, 501, 502, 503, 504)


class Item(BaseModel):
    """What is posted."""

    name: str = Field(max_length=10)
    prices: dict[str, float] = {}


class Teapot(Exception):
    """Has a handler of the application's."""


class Broken(Exception):
    """Has none."""


class Raising:
    """A middleware that fails before, and after, the application."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope.get("path")
        if path == "/middleware/before":
            raise Broken
        await self._app(scope, receive, send)
        if path == "/middleware/after":
            raise Broken


ROUTES = APIRouter()


def session(request: Request) -> Iterator[str]:
    yield "session"
    request.app.state.done.append("closed")


@ROUTES.get("/")
async def root(request: Request) -> dict[str, Any]:
    return {"state": sorted(request.state._state), "path": request.url.path}


@ROUTES.get("/sync/{number}")
def sync(number: int, held: Annotated[str, Depends(session)]) -> dict[str, Any]:
    return {"number": number, "held": held}


@ROUTES.get("/typed/{number:int}/{rest:path}")
async def typed(number: int, rest: str) -> str:
    return f"{number} {rest}"


@ROUTES.post("/items", status_code=201)
async def create(request: Request, item: Item, background: BackgroundTasks) -> Item:
    background.add_task(request.app.state.done.append, item.name)
    return item


@ROUTES.delete("/items")
async def delete() -> Response:
    return Response(status_code=204)


@ROUTES.get("/status/{status}")
async def status(status: int) -> None:
    raise HTTPException(status, "detail", headers={"X-Own": "1"})


@ROUTES.get("/teapot")
async def teapot() -> None:
    raise Teapot


@ROUTES.get("/broken")
async def broken() -> None:
    raise Broken


@ROUTES.get("/group")
async def group() -> None:
    raise ExceptionGroup("several", [Broken(), ValueError("x")])


@ROUTES.get("/stream")
async def stream() -> StreamingResponse:
    async def parts() -> AsyncIterator[bytes]:
        for number in range(3):
            await asyncio.sleep(0)
            yield b"%d\n" % number

    return StreamingResponse(parts(), media_type="text/plain")


@ROUTES.get("/stream/broken")
async def stream_broken() -> StreamingResponse:
    async def parts() -> AsyncIterator[bytes]:
        yield b"first"
        raise Broken

    return StreamingResponse(parts())


@ROUTES.get("/middleware/after")
async def answered_before() -> str:
    return "sent"


@ROUTES.get("/slash/")
async def slash() -> str:
    return "slash"


@ROUTES.websocket("/echo")
async def echo(socket: WebSocket) -> None:
    await socket.accept()
    await socket.send_text(await socket.receive_text())
    await socket.close()


def on_teapot(_request: Request, _error: Exception) -> Response:
    return PlainTextResponse("short and stout", 418)


async def on_invalid(_request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    return JSONResponse({"error": {"fields": len(error.errors())}}, 400)


async def on_missing(_request: Request, _error: Exception) -> Response:
    return JSONResponse({"error": "nothing here"}, 404)


async def on_error(_request: Request, error: Exception) -> Response:
    return JSONResponse({"error": type(error).__name__}, 500)


class Headers(BaseHTTPMiddleware):
    """The kind of middleware that runs the application in a task of its own."""

    async def dispatch(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
        answer = await call_next(request)
        answer.headers["X-Middleware"] = "1"
        return answer


def foreign(*, own_errors: bool = False) -> FastAPI:
    """Return a new application. own_errors: with handlers that answer in its own way."""
    app = FastAPI(title="Foreign")
    app.state.done = []
    app.include_router(ROUTES)
    app.add_exception_handler(Teapot, on_teapot)
    if own_errors:
        app.add_exception_handler(RequestValidationError, on_invalid)
        app.add_exception_handler(404, on_missing)
        app.add_exception_handler(Exception, on_error)
    inner = FastAPI()

    @inner.get("/thing/{name}")
    async def thing(name: str) -> str:
        return name

    app.mount("/inner", inner)
    app.mount("/plain", Starlette(routes=[Route("/", lambda _: PlainTextResponse("plain"))]))
    app.add_middleware(Headers)
    app.add_middleware(Raising)
    app.add_middleware(CORSMiddleware, allow_origins=["https://a.test"])
    return app
