"""What HTTP frameworks do not let an application do: end a connection, or drip an answer.

ASGI has no message for closing a connection without an answer, so the server is started with
`Protocol`, which puts the connection's transport into the scope of each request, as an extension
of its own.
"""

import asyncio
import math
import os
import socket
import struct
from collections.abc import AsyncIterator

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from stack.provider.wire import Answer

_EXTENSION = "firedrill.transport"
_CHUNKS_PER_SECOND = 10
_MEGABYTE = 1_000_000


class Protocol(HttpToolsProtocol):
    """uvicorn's own, with the transport in `scope["extensions"]`."""

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["extensions"] = {_EXTENSION: {"transport": self.transport}}


class HangUp(Response):
    """Ends the connection without an answer. with_reset: by TCP RST, else by FIN."""

    def __init__(self, *, with_reset: bool = False) -> None:
        super().__init__()
        self._with_reset = with_reset

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI's signature
        await _hang_up(scope, receive, with_reset=self._with_reset)


class CutAtShutdown:
    """ASGI wrapper: a call that the stopping server cancels ends as a broken connection; without it,
    as a traceback in the log. Nothing else cancels a call.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._app(scope, receive, send)
        except asyncio.CancelledError:
            await _hang_up(scope, receive, with_reset=False)


class CutBody(Response):
    """Announces the whole body, sends half of it and ends the connection."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        half = bytes(self.body[: len(self.body) // 2])
        start = {"status": self.status_code, "headers": self.raw_headers}
        await send({"type": "http.response.start", **start})
        await send({"type": "http.response.body", "body": half, "more_body": True})
        await _hang_up(scope, receive, with_reset=False)


def whole(answer: Answer) -> Response:
    return Response(answer.body, answer.status, dict(answer.headers))


def cut(answer: Answer) -> Response:
    return CutBody(answer.body, answer.status, dict(answer.headers))


def dripped(answer: Answer, *, seconds: float) -> Response:
    """The answer with its body spread evenly over so many seconds, ten pieces each second."""
    body = answer.body
    pieces = max(1, min(len(body), math.ceil(seconds * _CHUNKS_PER_SECOND)))
    size = math.ceil(len(body) / pieces)

    async def drip() -> AsyncIterator[bytes]:
        for start in range(0, len(body), size):
            await asyncio.sleep(seconds / pieces)
            yield body[start : start + size]

    headers = {**answer.headers, "Content-Length": str(len(body))}
    return StreamingResponse(drip(), answer.status, headers)


def huge(answer: Answer, *, megabytes: int) -> Response:
    """The answer with so many megabytes of white space before its last brace: large, yet valid
    JSON.
    """
    head, tail = answer.body[:-1], answer.body[-1:]
    filler = b" " * (_MEGABYTE - 1) + b"\n"

    async def flood() -> AsyncIterator[bytes]:
        yield head
        for _ in range(megabytes):
            yield filler
        yield tail

    return StreamingResponse(flood(), answer.status, dict(answer.headers))


async def outlasts(request: Request, seconds: float) -> bool:
    """Wait so long with a request whose body was read; False as soon as its client has gone."""
    try:
        async with asyncio.timeout(seconds):
            while (await request.receive())["type"] != "http.disconnect":
                pass
    except TimeoutError:
        return True
    return False


async def _hang_up(scope: Scope, receive: Receive, *, with_reset: bool) -> None:
    """End the connection and wait until the server knows, or it would answer 500 in our place."""
    extensions = scope.get("extensions") or {}
    if _EXTENSION not in extensions:
        raise RuntimeError("start uvicorn with http=stack.provider.transport.Protocol")
    transport: asyncio.Transport = extensions[_EXTENSION]["transport"]
    if with_reset:
        _reset_on_close(transport)
    transport.close()
    while (await receive())["type"] != "http.disconnect":
        pass


def _reset_on_close(transport: asyncio.Transport) -> None:
    """SO_LINGER of 0 s turns the close into a reset. Set through a copy of the descriptor:
    uvloop's stand-in for a socket refuses options, and options belong to the connection, not the
    descriptor.
    """
    connection = transport.get_extra_info("socket")
    if connection is None:
        return
    with socket.socket(fileno=os.dup(connection.fileno())) as copy:
        copy.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
