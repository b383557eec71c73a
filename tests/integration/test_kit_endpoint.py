"""One `/metrics` per worker, and nothing in it that is not known."""

import os
import socket
import subprocess
import sys
import urllib.request

import pytest
from prometheus_client import CollectorRegistry

from firedrill_kit import endpoint
from stack.serving import free_port

HOST = "127.0.0.1"


def test_each_worker_takes_the_next_port_and_one_that_comes_back_the_free_one() -> None:
    port, registry = free_port(), CollectorRegistry()

    def serve() -> endpoint.Endpoint | None:
        return endpoint.serve(registry, host=HOST, port=port, workers_max=2)

    first, second, third = serve(), serve(), serve()
    assert first
    assert second
    first.stop()
    again = serve()
    assert again

    assert (first.port, second.port, third, again.port) == (port, port + 1, None, port)
    for one in (second, again):
        one.stop()


def test_a_connection_that_asks_for_nothing_ends_and_is_no_news(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(endpoint._Silent, "timeout", 0.05)
    served = endpoint.serve(CollectorRegistry(), host=HOST, port=free_port(), workers_max=1)
    assert served

    with socket.create_connection((HOST, served.port), timeout=10) as connection:
        connection.sendall(b"GET /met")
        assert connection.recv(1) == b""
    served.stop()

    assert capsys.readouterr().err == ""


def test_a_forked_process_does_not_keep_the_port() -> None:
    port = free_port()

    def serve() -> endpoint.Endpoint | None:
        return endpoint.serve(CollectorRegistry(), host=HOST, port=port, workers_max=1)

    first = serve()
    assert first
    reader, writer = os.pipe()
    if not (child := os.fork()):
        os.read(reader, 1)
        os._exit(0)
    first.stop()
    again = serve()
    os.write(writer, b"x")
    os.waitpid(child, 0)

    assert again
    again.stop()


def test_a_healthy_application_gives_no_verdict_that_nothing_has_come_to() -> None:
    """`db_up` is 0 before anybody asked: that once paged, and the page hid the real one."""
    port = free_port()
    program = f"""
import fastapi, firedrill_kit
app = fastapi.FastAPI()
firedrill_kit.instrument(app, metrics_port={port})._serve()
input()
"""
    environment = {**os.environ, "FIREDRILL_CONFIG": ""}
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, env=environment
    ) as process:
        body = ""
        while not body:
            try:
                with urllib.request.urlopen(f"http://{HOST}:{port}/metrics") as answer:
                    body = answer.read().decode()
            except OSError:
                assert process.poll() is None
        process.communicate(b"\n")

    names = {line.partition(" ")[0].partition("{")[0] for line in body.splitlines()}
    assert "telemetry_spans_total" in names
    assert not {
        name for name in names if name.startswith(("db_", "circuit_", "schema_", "oauth_"))
    }
