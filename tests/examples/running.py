"""An example as its firedrill.toml says that it is prepared and started, in an environment of its own."""

import contextlib
import os
import shlex
import signal
import subprocess
import tomllib
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil

from stack.postgres import Postgres
from stack.serving import LOOPBACK, free_port
from stack.waiting import until
from tests.examples.environments import EXAMPLES, kit, programs_of

USER = "ada@example.com"
PASSWORD = "correct horse battery staple"
STOP_SECONDS = 20


@dataclass(frozen=True)
class Example:
    """One example on a database of its own. log: what the running application prints."""

    name: str
    postgres: Postgres
    port: int
    log: Path

    @property
    def folder(self) -> Path:
        return EXAMPLES / self.name

    @property
    def description(self) -> dict[str, Any]:
        return tomllib.loads((self.folder / "firedrill.toml").read_text())

    @property
    def metrics_port(self) -> int:
        """Of the first worker: the ports that follow its own are free as well."""
        return self.port + 1

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self.port}"

    @property
    def environment(self) -> dict[str, str]:
        """Of its processes: nothing else in this repository reaches them."""
        programs = programs_of(self.folder / "requirements.txt")
        return {
            "PATH": f"{programs}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
            "DATABASE_URL": self.postgres.dsn("owner"),
            "SECRET_KEY": "s" * 32,
            "FIRST_USER": USER,
            "FIRST_PASSWORD": PASSWORD,
            "PYTHONPATH": str(kit()),
            "FIREDRILL_METRICS_PORT": str(self.metrics_port),
            "OTEL_EXPORTER_OTLP_ENDPOINT": "",
        }

    def prepare(
        self, variables: Mapping[str, str] | None = None
    ) -> list[subprocess.CompletedProcess[str]]:
        """Run its commands, whatever comes of them. variables: beside those of the environment."""
        return [
            subprocess.run(
                shlex.split(command),
                cwd=self.folder,
                env=self.environment | dict(variables or {}),
                capture_output=True,
                text=True,
                check=False,
            )
            for command in self.description["process"]["prepare"]
        ]

    @contextmanager
    def started(self, variables: Mapping[str, str] | None = None) -> Iterator[psutil.Process]:
        """Its process, once it answers; stopped at the end. variables: beside those of the environment."""
        command = self.description["process"]["start"].format(port=self.port)
        with self.log.open("w") as output:
            process = psutil.Popen(
                shlex.split(command),
                cwd=self.folder,
                env=self.environment | dict(variables or {}),
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        try:
            until(lambda: self._answers(process), f"an answer of {self.name}")
            yield process
        finally:
            process.terminate()
            try:
                process.wait(STOP_SECONDS)
            except psutil.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()

    def _answers(self, process: psutil.Popen) -> bool:
        assert process.poll() is None, self.log.read_text()
        path = self.description["load"]["unrelated"].removeprefix("GET ")
        with contextlib.suppress(httpx.TransportError):
            return httpx.get(f"{self.url}{path}").is_success
        return False


@asynccontextmanager
async def prepared(name: str, directory: Path) -> AsyncIterator[Example]:
    """The example with its tables and its first user, not started."""
    # As PostgreSQL comes: four workers of the shop open 60.
    async with Postgres(directory, free_port(), {"max_connections": 100}) as postgres:
        example = Example(name, postgres, free_port(), directory / f"{name}.log")
        for done in example.prepare():
            assert done.returncode == 0, done.stderr
        yield example
