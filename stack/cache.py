"""The shared cache's server: Valkey or Redis, in memory only, on loopback only."""

import contextlib
import os
import secrets
import socket
import subprocess
import time
from pathlib import Path
from typing import Self

START_SECONDS = 30.0
MEGABYTES = 64
"""Limit of the data; beyond it the least recently used goes (allkeys-lru). 30,000 settings of 2 KB."""


def configuration(directory: Path) -> Path:
    """The file that the server is started with."""
    return directory / "cache.conf"


def write_configuration(directory: Path, port: int, password: str) -> None:
    """Write it so that only its owner reads it: it holds the password."""
    directory.mkdir(parents=True, exist_ok=True)
    lines = (
        "bind 127.0.0.1",
        f"port {port}",
        f"requirepass {password}",
        f"dir {directory}",
        # Nothing is kept over a restart: what is in it can be read elsewhere.
        'save ""',
        "appendonly no",
        f"maxmemory {MEGABYTES}mb",
        "maxmemory-policy allkeys-lru",
    )
    descriptor = os.open(configuration(directory), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as output:
        output.write("\n".join(lines) + "\n")


def is_ready(port: int, password: str) -> bool:
    """Whether a server on loopback answers a PING."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
            connection.sendall(f"AUTH {password}\r\nPING\r\n".encode())
            answer = b""
            while answer.count(b"\r\n") < 2 and (received := connection.recv(256)):
                answer += received
    except OSError:
        return False
    return answer == b"+OK\r\n+PONG\r\n"


class CacheServer:
    """A server of one's own, for as long as the block runs; it keeps port and password over a restart.

    with CacheServer(tmp_path, free_port(), program) as server:
        client = redis.Redis.from_url(server.url())
    """

    def __init__(self, directory: Path, port: int, program: str) -> None:
        """program: path of valkey-server or redis-server."""
        self.port = port
        self.password = secrets.token_hex(16)
        self._directory = directory
        self._program = program
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    @property
    def pid(self) -> int:
        """0 when it does not run."""
        return self._process.pid if self._process is not None else 0

    def url(self, port: int | None = None, *, password: str | None = None) -> str:
        """port: of a proxy before it. password: another than its own."""
        secret = self.password if password is None else password
        return f"redis://:{secret}@127.0.0.1:{port or self.port}/0"

    def start(self) -> None:
        """Start and wait until it answers. Raises TimeoutError, also when it has ended."""
        write_configuration(self._directory, self.port, self.password)
        command = [self._program, str(configuration(self._directory))]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + START_SECONDS
        with contextlib.ExitStack() as on_failure:  # also at Ctrl-C: `__exit__` is not called then
            on_failure.callback(self.kill)
            while not is_ready(self.port, self.password):
                if self._process.poll() is not None or time.monotonic() > deadline:
                    raise TimeoutError(f"{self._program} does not answer on port {self.port}")
                time.sleep(0.02)
            on_failure.pop_all()

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
