"""A whole stack in a directory of its own, on free ports, out of this checkout."""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psutil
import pytest

from stack.prometheus import Prometheus
from stack.serving import free_port
from stack.settings import DEFAULT_PORTS, ROOT, variable

UP_SECONDS = 300


@dataclass
class Stack:
    """One stack and its commands, run as a user would run them."""

    local: Path
    ports: dict[str, int]
    variables: dict[str, str] = field(default_factory=dict)
    printed: str = ""
    """What the first `up` printed."""

    @property
    def environment(self) -> dict[str, str]:
        ports = {variable(name): str(port) for name, port in self.ports.items()}
        return os.environ | ports | {"FIREDRILL_LOCAL": str(self.local)} | self.variables

    def command(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "stack", *arguments],
            cwd=ROOT,
            env=self.environment,
            text=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        process = self.command(*arguments)
        out, error = process.communicate(timeout=UP_SECONDS)
        return subprocess.CompletedProcess(arguments, process.returncode, out, error)

    def up(self) -> str:
        """Bring it up; returns what was printed."""
        done = self.run("up")
        assert done.returncode == 0, done.stderr
        return done.stdout

    @property
    def pids(self) -> dict[str, int]:
        """Process ids by part."""
        content = json.loads((self.local / "state.json").read_text())
        return {name: process["pid"] for name, process in content["parts"].items()}

    def processes(self) -> list[psutil.Process]:
        """Every process that carries this stack's directory, whether the stack knows it or not."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.status() == psutil.STATUS_ZOMBIE or process.pid == os.getpid():
                    continue
                if process.environ().get("FIREDRILL_LOCAL") == str(self.local):
                    found.append(process)
        return found

    def url(self, port: str, path: str = "") -> str:
        return f"http://127.0.0.1:{self.ports[port]}{path}"

    def token(self, user: str, *, legacy: bool = False) -> str:
        done = self.run("token", "--user", user, *(("--format", "legacy") if legacy else ()))
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()


def free_ports() -> dict[str, int]:
    return {name: free_port() for name in DEFAULT_PORTS}


@pytest.fixture
def new_stack(tmp_path: Path) -> Iterator[Stack]:
    """A stack that has not been started."""
    stack = Stack(tmp_path / "local", free_ports())
    yield stack
    stack.run("clean")


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack that is up, for all tests that leave it as they find it."""
    # Every trace is kept, so that each request of a test can be looked up.
    variables = {"TRACE_BASE_RATIO": "1"}
    stack = Stack(tmp_path_factory.mktemp("stack") / "local", free_ports(), variables)
    try:
        stack.printed = stack.up()
        yield stack
    finally:
        stack.run("clean")
    assert stack.processes() == []


@pytest.fixture(scope="session")
def api(stack: Stack) -> Iterator[httpx.Client]:
    """A client of the public port, signed in as a demo user with a calendar grant."""
    headers = {"Authorization": f"Bearer {stack.token('user03@example.com')}"}
    with httpx.Client(base_url=stack.url("service"), headers=headers, timeout=20) as client:
        yield client


@pytest.fixture(scope="session")
def query(stack: Stack) -> Iterator[Callable[[str], list[tuple[dict[str, str], float]]]]:
    """Ask Prometheus: PromQL in, (labels, value) pairs out."""
    with Prometheus(stack.url("prometheus")) as prometheus:
        yield prometheus.query
