"""One request on a connection of its own, as little work for the generator as can be.

httpx walks over all its connections at each request: with some hundred of them waiting, which is what a
hang looks like from outside, the generator became slower than the service (100 ms, measured).
"""

import asyncio
import json
from dataclasses import dataclass, field
from urllib.parse import urlencode

from loadtests.traffic.callers import Request


@dataclass(frozen=True)
class Answer:
    """headers: by lower-case name."""

    status: int
    headers: dict[str, str]
    body: bytes = field(repr=False)


class NoAnswerError(Exception):
    """The connection ended without a whole answer."""


async def ask(port: int, request: Request) -> Answer:
    """Send a request to 127.0.0.1 and read the answer. Raises NoAnswerError, OSError."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(_encoded(request))
        # The server closes after the answer, as it was asked to.
        return _parsed(await reader.read(-1))
    finally:
        writer.close()


def _encoded(request: Request) -> bytes:
    headers = {"Host": "127.0.0.1", "Connection": "close", **request.headers}
    body = b""
    if request.json is not None:
        body, headers["Content-Type"] = json.dumps(request.json).encode(), "application/json"
    elif request.form is not None:
        body = urlencode(request.form).encode()
        headers["Content-Type"] = "application/x-www-form-urlencoded"
    if body:
        headers["Content-Length"] = str(len(body))
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"{request.method} {request.path} HTTP/1.1\r\n{lines}\r\n".encode() + body


def _parsed(received: bytes) -> Answer:
    head, _, body = received.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    pairs = (line.partition(": ") for line in lines)
    headers = {name.lower(): value for name, _, value in pairs}
    if not first.startswith("HTTP/1.1 ") or len(body) < int(headers.get("content-length", "0")):
        raise NoAnswerError
    return Answer(int(first.split(" ")[1]), headers, body)
