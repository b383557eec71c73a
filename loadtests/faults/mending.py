"""Mending, whatever becomes of the drill: what undoes a break is on disk before anything is broken.

The runner mends at the end of a drill. A guard, a process of its own session, holds the reading end
of a pipe; when the runner dies in any way the pipe closes, and the guard mends what is still written
down. `python -m loadtests.faults.mending DIRECTORY` is the guard.
"""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import asyncpg
import httpx

from stack.processes import Running, is_alive, stop
from stack.settings import ROOT, read_settings
from stack.state import read_state

Mend: TypeAlias = dict[str, Any]
"""What undoes one break: `kind` names the function below, the rest are its arguments."""

HOLDER = "firedrill-drill"
"""Application name of the connections that a drill breaks things through."""
_CONNECT_SECONDS = 10
_END_MILLISECONDS = 10_000
_UP_SECONDS = 120


def record_of(local: Path) -> Path:
    return local / "to_mend.json"


def write_down(local: Path, mends: Sequence[Mend]) -> None:
    """Add mends to those on disk. They hold the database's passwords: for the owner only."""
    mends = [*to_mend(local), *mends]
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


async def mend(local: Path) -> list[str]:
    """Undo what is written down, the last break first; returns what could not be undone.

    Each mend may be repeated. The record is deleted once all is mended.
    """
    failed = await undo(to_mend(local))
    if not failed:
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
        except (
            OSError,
            TimeoutError,
            asyncpg.PostgresError,
            httpx.HTTPError,
            subprocess.TimeoutExpired,
        ) as error:
            failed.append(f"{mend['kind']}: {error!r}")
    return failed


async def _let_go(*, dsn: str) -> None:
    """End the connections of drills: what they lock, they let go of. Raises TimeoutError."""
    connection = await asyncpg.connect(dsn, timeout=_CONNECT_SECONDS)
    try:
        # Without a time to wait the function returns when the signal is sent, the lock still held.
        await connection.execute(
            "SELECT pg_terminate_backend(pid, $2) FROM pg_stat_activity WHERE application_name = $1",
            HOLDER,
            _END_MILLISECONDS,
        )
        left = await connection.fetchval(
            "SELECT count(*) FROM pg_stat_activity WHERE application_name = $1", HOLDER
        )
        if left:
            message = f"{left} connections of a drill did not end"
            raise TimeoutError(message)
    finally:
        await connection.close()


async def _sql(*, dsn: str, statement: str) -> None:
    """Run a statement that says itself whether there is anything left to do."""
    connection = await asyncpg.connect(
        dsn, timeout=_CONNECT_SECONDS, server_settings={"application_name": f"{HOLDER}-mend"}
    )
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


async def _post(*, url: str, content: Any) -> None:
    """Tell a control port: the provider's, or a proxy's."""
    async with httpx.AsyncClient(trust_env=False, timeout=_CONNECT_SECONDS) as http:
        (await http.post(url, json=content)).raise_for_status()


async def _thaw(*, processes: list[dict[str, Any]]) -> None:
    for process in processes:
        running = Running(**process)
        if is_alive(running):
            os.kill(running.pid, signal.SIGCONT)


async def _up(*, environment: dict[str, str]) -> None:
    """Start the parts of the stack that do not run."""
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


async def _restart(*, parts: list[str], environment: dict[str, str]) -> None:
    """Stop what runs of some parts now, whoever started it, and start it again."""
    alive = read_state(read_settings({**os.environ, **environment})).alive
    await asyncio.to_thread(stop, [alive[part] for part in parts if part in alive])
    await _up(environment=environment)


async def _restore(*, file: str, content: str) -> None:
    await asyncio.to_thread(Path(file).write_text, content)


_KINDS: dict[str, Callable[..., Awaitable[None]]] = {
    "let_go": _let_go,
    "sql": _sql,
    "post": _post,
    "thaw": _thaw,
    "up": _up,
    "restart": _restart,
    "restore": _restore,
}


class Guard:
    """While it is entered, somebody else mends should this process die. clean: takes the stack too."""

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
