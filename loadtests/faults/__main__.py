"""`python -m loadtests.faults`: breaks what a phase needs broken, in a process of its own.

Of its own, because asyncpg and Locust's gevent cannot share one. It reads `break WHAT` and `mend WHAT`,
and says `broken WHAT`, `mended WHAT` (or `failed WHAT: why`). The end of its standard input mends all
that is broken, and so does its guard when it is killed.

WHAT: `lock TABLE` · `expire` (every grant's access token) · `rotation strict` · `provider hang`.
It finds the local stack by itself; LOADTEST_OWNER_DSN and LOADTEST_PROVIDER_URL name another.
"""

import asyncio
import os
import sys
import tempfile
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import httpx

from loadtests.faults.database import lock, sql
from loadtests.faults.fault import Fault
from loadtests.faults.mending import Guard, MendingFailedError, broken
from loadtests.faults.provider import provider
from loadtests.world.description import DEMO, SERVED
from loadtests.world.stage import Stage
from stack.postgres import Role
from stack.settings import read_settings


class UnknownFault(Exception):
    """Nothing is called so."""


@dataclass
class Elsewhere(Stage):
    """A stack on this machine or another one, of which the environment may name what is reached."""

    directory: Path = Path()

    @property
    def local(self) -> Path:
        """Not that of the stack: a drill or another load test may have something to mend there."""
        return self.directory

    @property
    def provider_url(self) -> str:
        return self.environment.get("LOADTEST_PROVIDER_URL") or super().provider_url

    def dsn(self, role: Role) -> str:
        return self.environment.get("LOADTEST_OWNER_DSN") or super().dsn(role)


def fault_called(what: str) -> Fault:
    """Raises UnknownFault."""
    kind, _, table = what.partition(" ")
    if kind == "lock" and table in SERVED.tables:
        return lock(table)
    if what == "expire":
        return sql("every access token is due", DEMO.expire_grants, role="owner")
    if what == "rotation strict":
        return provider("refresh tokens rotate strictly", rotation="strict")
    if what == "provider hang":
        hanging = {"mode": "hang"}
        return provider("the provider hangs", calendar=hanging, token=hanging)
    raise UnknownFault(what)


async def main() -> int:
    with (
        tempfile.TemporaryDirectory(prefix="loadtest-faults-") as directory,
        Guard(Path(directory), clean=False),
    ):
        world = Elsewhere(read_settings(os.environ), os.environ, directory=Path(directory))
        async with AsyncExitStack() as everything:
            lasting: dict[str, AsyncExitStack] = {}
            while line := (await asyncio.to_thread(sys.stdin.readline)).strip():
                order, _, what = line.partition(" ")
                try:
                    if order == "break":
                        one = await everything.enter_async_context(AsyncExitStack())
                        await one.enter_async_context(broken(world, fault_called(what)))
                        lasting[what] = one
                    elif what in lasting:
                        await lasting.pop(what).aclose()
                except (
                    UnknownFault,
                    MendingFailedError,
                    asyncpg.PostgresError,
                    httpx.HTTPError,
                    OSError,
                ) as error:
                    print(f"failed {what}: {error}", flush=True)
                else:
                    print(f"{'broken' if order == 'break' else 'mended'} {what}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
