"""A service that gives one answer to everything, and what it has heard."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass


@dataclass(frozen=True)
class Heard:
    """One request. headers: by lower-case name."""

    line: str
    headers: dict[str, str]
    body: str


@asynccontextmanager
async def answering(status: int, body: str) -> AsyncIterator[tuple[str, list[Heard]]]:
    """Gives its URL on a free port and the requests so far."""
    heard: list[Heard] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        line, *fields = head.strip().split("\r\n")
        headers = {
            name.lower(): value for name, _, value in (one.partition(": ") for one in fields)
        }
        sent = await reader.readexactly(int(headers.get("content-length", "0")))
        heard.append(Heard(line, headers, sent.decode()))
        length = f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
        writer.write(f"HTTP/1.1 {status} X\r\n{length}{body}".encode())
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", heard
