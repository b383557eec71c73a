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
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            started = orjson.loads(process.stdout.readline())
            assert started["event"] == "pager_started"
            # The socket listens from before that line on: a request waits until it is served.
            with httpx.Client(base_url=started["url.full"], timeout=20) as http:
                assert http.get("/healthz").status_code == 200
                yield RunningPager(process, started["url.full"], http)
        finally:
            process.kill()
            process.communicate()
