"""The shared cache's server: Valkey or Redis, in memory only, on loopback only."""

import os
import socket
from pathlib import Path

MEGABYTES = 64
"""Of data; then what was not used longest goes (allkeys-lru). 2 KB a settings document: 30,000 of them."""


def write_configuration(directory: Path, port: int, password: str) -> Path:
    """Return the file that the server is started with; it holds the password, so only its owner reads it."""
    directory.mkdir(parents=True, exist_ok=True)
    file = directory / "cache.conf"
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
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as output:
        output.write("\n".join(lines) + "\n")
    return file


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
