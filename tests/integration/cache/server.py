"""A cache server of one's own, and a fault proxy before it."""

import secrets
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import redis
from redis.asyncio import Redis

from service.cache import Cache
from stack.cache import is_ready, write_configuration
from stack.programs import find_programs
from stack.proxy import FaultProxy
from stack.serving import free_port

START_SECONDS = 10.0


@dataclass
class CacheServer:
    """Started by `started`; it keeps its port and its password over a restart."""

    directory: Path
    port: int = field(default_factory=free_port)
    password: str = field(default_factory=lambda: secrets.token_hex(16))
    process: "subprocess.Popen[bytes] | None" = None

    def ask(self, *command: object) -> Any:
        """The answer to a command, past any proxy and without our limits of time."""
        with redis.Redis(port=self.port, password=self.password) as admin:
            return admin.execute_command(*command)

    def url(self, port: int | None = None, *, password: str | None = None) -> str:
        """port: of a proxy before it."""
        secret = self.password if password is None else password
        return f"redis://:{secret}@127.0.0.1:{port or self.port}/0"

    def start(self) -> None:
        program = find_programs().get("cache")
        if program is None:
            pytest.skip("neither Valkey nor Redis is on this machine")
        file = write_configuration(self.directory, self.port, self.password)
        self.process = subprocess.Popen([program, file], stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + START_SECONDS
        while not is_ready(self.port, self.password):
            assert self.process.poll() is None, "the cache server has ended"
            assert time.monotonic() < deadline, "the cache server does not answer"
            time.sleep(0.02)

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


@asynccontextmanager
async def proxied(server: CacheServer) -> AsyncIterator[FaultProxy]:
    async with FaultProxy("127.0.0.1", server.port) as proxy:
        yield proxy


async def value_of(cache: Cache, key: str) -> object:
    """What a user of the cache gets. Raises CacheAway."""

    async def get(client: "Redis") -> object:
        return await client.get(key)

    return await cache.call("settings", "GET", get)
