"""`python -m loadtests.faults`: breaks what a phase needs broken, in a process of its own.

Of its own, because asyncpg and Locust's gevent cannot share one, and because what it holds ends with it:
whoever started it holds its standard input, and the end of that mends. It reads `break WHAT` and `mend
WHAT`, and says `broken WHAT`, `mended WHAT` (or `failed WHAT: why`).

WHAT: `lock TABLE` · `expire` (every grant's access token) · `rotation strict` · `provider hang`.
It finds the local stack by itself; LOADTEST_OWNER_DSN and LOADTEST_PROVIDER_URL name another.
"""

import asyncio
import os
import sys
from collections.abc import Mapping
from typing import Any

import asyncpg
import httpx

from stack.credentials import load_credentials
from stack.postgres import dsn
from stack.settings import Settings, read_settings

TABLES = frozenset({"profiles", "settings", "accounts"})

_PROVIDER: Mapping[str, Mapping[str, Any]] = {
    "rotation strict": {"rotation": "strict"},
    "provider hang": {"calendar": {"mode": "hang"}, "token": {"mode": "hang"}},
}


class UnknownBreak(Exception):
    """Nothing is called so."""


class Breaks:
    """What is broken now, and how to undo it."""

    def __init__(self, owner_dsn: str, provider_url: str) -> None:
        self._dsn = owner_dsn
        self._provider_url = provider_url
        self._locks: dict[str, asyncpg.Connection[asyncpg.Record]] = {}

    async def cause(self, what: str) -> None:
        """Raises UnknownBreak, asyncpg.PostgresError, httpx.HTTPError, OSError."""
        kind, _, name = what.partition(" ")
        if kind == "lock" and name in TABLES:
            connection = await asyncpg.connect(self._dsn, timeout=10)
            self._locks[what] = connection
            await connection.execute(f"BEGIN; LOCK TABLE {name} IN ACCESS EXCLUSIVE MODE")
        elif what == "expire":
            await self._expire()
        elif what in _PROVIDER:
            await self._post("/_control", _PROVIDER[what])
        else:
            raise UnknownBreak(what)

    async def mend(self, what: str) -> None:
        if what in self._locks:
            connection = self._locks.pop(what)
            await connection.execute("ROLLBACK")
            await connection.close()
        elif what in _PROVIDER:
            await self._post("/_control", {"reset": True})

    async def _expire(self) -> None:
        connection = await asyncpg.connect(self._dsn, timeout=10)
        try:
            await connection.execute("UPDATE oauth_grants SET expires_at = now()")
        finally:
            await connection.close()

    async def _post(self, path: str, content: Mapping[str, Any]) -> None:
        async with httpx.AsyncClient(trust_env=False, timeout=5) as http:
            answer = await http.post(f"{self._provider_url}{path}", json=dict(content))
            answer.raise_for_status()


def local_dsn(settings: Settings) -> str:
    """The owner of the schema at the stack on this machine."""
    roles = load_credentials(settings.local).roles
    return dsn("owner", roles["owner"], settings.ports["postgres"])


async def main() -> int:
    settings = read_settings(os.environ)
    breaks = Breaks(
        os.environ.get("LOADTEST_OWNER_DSN") or local_dsn(settings),
        os.environ.get("LOADTEST_PROVIDER_URL") or settings.url("provider"),
    )
    broken: dict[str, None] = {}
    while line := (await asyncio.to_thread(sys.stdin.readline)).strip():
        order, _, what = line.partition(" ")
        try:
            if order == "break":
                await breaks.cause(what)
                broken[what] = None
            else:
                await breaks.mend(what)
                broken.pop(what, None)
        except (UnknownBreak, asyncpg.PostgresError, httpx.HTTPError, OSError) as error:
            print(f"failed {what}: {error}", flush=True)
        else:
            print(f"{'broken' if order == 'break' else 'mended'} {what}", flush=True)
    for what in broken:
        await breaks.mend(what)
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
