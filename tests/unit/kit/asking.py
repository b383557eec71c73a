"""One request straight to an application, and all that it sends back."""

from dataclasses import dataclass, field
from typing import Any

from fastapi import FastAPI
from starlette.types import Message, Send


@dataclass(frozen=True)
class Asked:
    """One request."""

    path: str
    method: str = "GET"
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    kind: str = "http"
    root_path: str = ""


async def answered(app: FastAPI, asked: Asked, send_on: Send | None = None) -> list[Any]:
    """Return all messages of the answer, and the type of what came out instead of an end.

    send_on: is given each message as well.
    """
    coming: list[Message] = [{"type": "http.request", "body": asked.body, "more_body": False}]
    if asked.kind == "websocket":
        coming = [{"type": "websocket.connect"}, {"type": "websocket.receive", "text": "hello"}]
    seen: list[Any] = []

    async def receive() -> Message:
        return coming.pop(0) if coming else {"type": f"{asked.kind}.disconnect", "code": 1000}

    async def send(message: Message) -> None:
        seen.append(dict(message))
        if send_on is not None:
            await send_on(message)

    scope: dict[str, Any] = {
        "type": asked.kind,
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "scheme": "http" if asked.kind == "http" else "ws",
        "path": asked.path,
        "raw_path": asked.path.encode(),
        "root_path": asked.root_path,
        "query_string": b"",
        "headers": [
            (b"host", b"a.test"),
            *((name.encode(), value.encode()) for name, value in asked.headers.items()),
        ],
        "client": ("127.0.0.1", 5000),
        "server": ("127.0.0.1", 8000),
        "state": {},
        "subprotocols": [],
    }
    if asked.kind == "http":
        scope["method"] = asked.method
    try:
        await app(scope, receive, send)
    except BaseException as error:  # noqa: BLE001 - its type is part of the answer
        seen.append(type(error))
    return seen
