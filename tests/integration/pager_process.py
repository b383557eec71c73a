"""`python -m stack.pager` as a process, and what a test asks it."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import orjson
import stamina

COMMAND = [sys.executable, "-m", "stack.pager"]


@dataclass(frozen=True)
class RunningPager:
    """http: a client of it, relative paths."""

    process: subprocess.Popen[str]
    url: str
    http: httpx.Client

    def post(self, body: object, receiver: str = "pager") -> httpx.Response:
        return self.http.post(f"/webhook/{receiver}", json=body)

    def pages(self, **query: Any) -> list[dict[str, Any]]:
        answer = self.http.get("/pages", params=query)
        assert answer.status_code == 200, answer.text
        found: list[dict[str, Any]] = answer.json()
        return found


@contextmanager
def running_pager(db: Path, *, port: int = 0, name: str = "pager") -> Iterator[RunningPager]:
    """A pager that answers; killed at the end, as a power cut would."""
    command = [*COMMAND, "--port", str(port), "--db", str(db), "--name", name]
    # A file, not a pipe: it logs each notification, and with a pipe full of them it would stand still.
    log = db.with_name(f"{db.stem}.log")
    with (
        log.open("wb") as output,
        subprocess.Popen(command, stdout=output, text=True) as process,
    ):
        try:
            url = _address(log)
            # The socket listens from before that line on: a request waits until it is served.
            with httpx.Client(base_url=url, timeout=20) as http:
                assert http.get("/healthz").status_code == 200
                yield RunningPager(process, url, http)
        finally:
            process.kill()
            process.wait()


def _address(log: Path) -> str:
    """What its first line says, once it is written."""
    line = b""
    for attempt in stamina.retry_context(
        on=AssertionError, attempts=None, timeout=60, wait_initial=0.05, wait_max=0.2
    ):
        with attempt:
            line, end, _ = log.read_bytes().partition(b"\n")
            assert end, "the pager has not said where it listens"
    started = orjson.loads(line)
    assert started["event"] == "pager_started"
    return str(started["url.full"])
