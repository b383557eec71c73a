"""Mending, whatever becomes of the run: what undoes a fault is on disk before anything is broken.

A run mends what it has broken. A guard, a process of its own session, holds the reading end of a pipe;
when the run dies in any way the pipe closes, and the guard mends what is still written down.
`python -m loadtests.faults.mending DIRECTORY` is the guard.
"""

import asyncio
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import psutil

from loadtests.faults.fault import Fault
from loadtests.world.errors import CannotRunError
from loadtests.world.interface import Mend, World
from stack.postgres import home_of, remove
from stack.processes import Running, is_alive, stop
from stack.settings import ROOT, read_settings
from stack.state import read_state

_CONNECT_SECONDS = 10
_END_MILLISECONDS = 10_000
_UP_SECONDS = 120


class MendingFailedError(CannotRunError):
    """The system is not whole; the text says what is left."""


@contextlib.asynccontextmanager
async def broken(world: World, fault: Fault) -> AsyncIterator[None]:
    """Break something for as long as the block runs. Raises MendingFailedError, and what the cause does."""
    mends = fault.mends(world)
    write_down(world.local, mends)
    try:
        await fault.cause(world)
        yield
    finally:
        world.release = None
        if failed := await mend(world.local, mends):
            raise MendingFailedError("; ".join(failed))


def record_of(local: Path) -> Path:
    return local / "to_mend.json"


def write_down(local: Path, mends: Sequence[Mend]) -> None:
    """Add mends to those on disk. They hold the database's passwords: for the owner only."""
    _keep(local, [*to_mend(local), *mends])


def _keep(local: Path, mends: Sequence[Mend]) -> None:
    unfinished = record_of(local).with_suffix(".unfinished")
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as output:
        json.dump(mends, output)
        output.flush()
        os.fsync(output.fileno())
    unfinished.rename(record_of(local))


def to_mend(local: Path) -> list[Mend]:
    try:
        mends: list[Mend] = json.loads(record_of(local).read_text())
    except FileNotFoundError:
        return []
    return mends


async def mend(local: Path, mends: Sequence[Mend] | None = None) -> list[str]:
    """Undo what is written down, the last one first; returns what could not be undone.

    mends: those of a fault; None: all. Each may be repeated, and is forgotten once all of them are done.
    """
    failed = await undo(to_mend(local) if mends is None else mends)
    if not failed:
        left = [one for one in to_mend(local) if one not in mends] if mends is not None else []
        if left:
            _keep(local, left)
        else:
            record_of(local).unlink(missing_ok=True)
    return failed


async def undo(mends: Sequence[Mend]) -> list[str]:
    """Undo mends, the last first; returns what could not be undone."""
    failed = []
    for mend in reversed(mends):
        arguments = {name: value for name, value in mend.items() if name != "kind"}
        try:
            await _KINDS[mend["kind"]](**arguments)
        except subprocess.CalledProcessError as error:
            failed.append(f"{mend['kind']}: {error.stderr or error}")
        except Exception as error:  # noqa: BLE001 - whatever one raises, the others are undone
            failed.append(f"{mend['kind']}: {error!r}")
    return failed


async def _end_sessions(*, dsn: str, application_name: str) -> None:
    """End the sessions that break things: what they lock, they let go of. Raises TimeoutError."""
    connection = await asyncpg.connect(dsn, timeout=_CONNECT_SECONDS)
    try:
        # Without a time to wait the function returns when the signal is sent, the lock still held.
        await connection.execute(
            "SELECT pg_terminate_backend(pid, $2) FROM pg_stat_activity WHERE application_name = $1",
            application_name,
            _END_MILLISECONDS,
        )
        left = await connection.fetchval(
            "SELECT count(*) FROM pg_stat_activity WHERE application_name = $1", application_name
        )
        if left:
            message = f"{left} sessions called {application_name} did not end"
            raise TimeoutError(message)
    finally:
        await connection.close()


async def _sql(*, dsn: str, statement: str) -> None:
    """Run a statement that says itself whether there is anything left to do."""
    connection = await asyncpg.connect(
        dsn, timeout=_CONNECT_SECONDS, server_settings={"application_name": "firedrill-mend"}
    )
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


async def _post(*, url: str, content: Any, may_be_gone: bool = False) -> None:
    """Post to a control port: the provider's, or a proxy's. may_be_gone: then there is nothing to mend."""
    async with httpx.AsyncClient(trust_env=False, timeout=_CONNECT_SECONDS) as http:
        try:
            (await http.post(url, json=content)).raise_for_status()
        except httpx.ConnectError:
            if not may_be_gone:
                raise


async def _thaw(*, processes: list[dict[str, Any]]) -> None:
    for process in processes:
        running = Running(**process)
        if is_alive(running):
            os.kill(running.pid, signal.SIGCONT)


async def _up(*, environment: dict[str, str], anew: list[str]) -> None:
    """Start the parts of the stack that do not run. anew: those that are stopped before, if they run."""
    alive = read_state(read_settings({**os.environ, **environment})).alive
    await asyncio.to_thread(stop, [alive[part] for part in anew if part in alive])
    await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "stack", "up"],
        check=True,
        cwd=ROOT,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_UP_SECONDS,
    )


async def _restore(*, file: str, content: str) -> None:
    await asyncio.to_thread(Path(file).write_text, content)


async def _stop(*, processes: list[dict[str, Any]]) -> None:
    await asyncio.to_thread(stop, [Running(**process) for process in processes])


async def _remove(*, directory: str) -> None:
    """Stop the PostgreSQL of a directory, if it runs, and delete both. Raises psutil.TimeoutExpired."""
    pid_file = home_of(Path(directory)) / "data" / "postmaster.pid"
    with contextlib.suppress(FileNotFoundError, psutil.NoSuchProcess):
        server = psutil.Process(int(pid_file.read_text().split()[0]))
        if server.name() == "postgres":
            server.send_signal(signal.SIGQUIT)
            await asyncio.to_thread(server.wait, _CONNECT_SECONDS)
    remove(Path(directory))
    shutil.rmtree(directory)


_KINDS: dict[str, Callable[..., Awaitable[None]]] = {
    one.__name__.removeprefix("_"): one
    for one in (_end_sessions, _sql, _post, _thaw, _up, _restore, _stop, _remove)
}


class Guard:
    """Runs the guard process, which mends if this process dies. clean: it removes the stack as well."""

    def __init__(self, local: Path, *, clean: bool) -> None:
        self._arguments = [str(local), *(["--clean"] if clean else [])]
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "loadtests.faults.mending", *self._arguments],
            stdin=subprocess.PIPE,
            cwd=ROOT,
            # Its own session: what kills us, a Ctrl-C or the terminal's end, must not reach it.
            start_new_session=True,
        )

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._process is not None and self._process.stdin is not None:
            # A second Ctrl-C ends the mending itself: whatever raised, the guard looks once more.
            if kind is None:
                self._process.stdin.write(b"done\n")
            self._process.stdin.close()
            self._process.wait()


def main(arguments: Sequence[str]) -> int:
    """Wait for the word that all is done, or for the end of the pipe without it."""
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    local = Path(arguments[0])
    if sys.stdin.readline() == "done\n":
        return 0
    failed = asyncio.run(mend(local))
    for failure in failed:
        print(f"not mended: {failure}", file=sys.stderr)
    with contextlib.suppress(OSError):
        local.rmdir()  # where nothing but the record was in it
    if "--clean" in arguments:
        environment = {**os.environ, "FIREDRILL_LOCAL": str(local)}
        subprocess.run(
            [sys.executable, "-m", "stack", "clean"],
            check=False,
            cwd=ROOT,
            env=environment,
            capture_output=True,
        )
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
