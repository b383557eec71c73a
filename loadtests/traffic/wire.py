"""One request on a connection of its own, as little work for the generator as can be.

httpx walks over all its connections at each request: with some hundred of them waiting, which is what a
hang looks like from outside, the generator became slower than the service (100 ms, measured).
"""

import asyncio
import json
from dataclasses import dataclass, field
from urllib.parse import urlencode, urlsplit

from loadtests.traffic.callers import Request


@dataclass(frozen=True)
class Answer:
    """headers: by lower-case name."""

    status: int
    headers: dict[str, str]
    body: bytes = field(repr=False)


class NoAnswerError(Exception):
    """The connection ended without a whole answer."""


async def ask(url: str, request: Request) -> Answer:
    """Send a request and read the answer. url: what stands before its path. Raises NoAnswerError, OSError."""
    base = urlsplit(url)
    is_tls = base.scheme == "https"
    reader, writer = await asyncio.open_connection(
        base.hostname, base.port or (443 if is_tls else 80), ssl=is_tls or None
    )
    try:
        writer.write(_encoded(request, host=base.netloc, prefix=base.path))
        # The server closes after the answer, as it was asked to.
        return _parsed(await reader.read(-1), has_body=request.method != "HEAD")
    finally:
        writer.close()


def _encoded(request: Request, *, host: str, prefix: str) -> bytes:
    headers = {"Host": host, "Connection": "close", **request.headers}
    body = b""
    if request.json is not None:
        body, headers["Content-Type"] = json.dumps(request.json).encode(), "application/json"
    elif request.form is not None:
        body = urlencode(request.form).encode()
        headers["Content-Type"] = "application/x-www-form-urlencoded"
    if body:
        headers["Content-Length"] = str(len(body))
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"{request.method} {prefix}{request.path} HTTP/1.1\r\n{lines}\r\n".encode() + body


def _parsed(received: bytes, *, has_body: bool) -> Answer:
    head, _, body = received.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    pairs = (line.partition(": ") for line in lines)
    headers = {name.lower(): value for name, _, value in pairs}
    length = int(headers.get("content-length", "0")) if has_body else 0
    if not first.startswith("HTTP/1.1 ") or len(body) < length:
        raise NoAnswerError
    return Answer(int(first.split(" ")[1]), headers, body)
