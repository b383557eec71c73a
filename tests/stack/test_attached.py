"""A stack around a service that is not the demo, which it starts itself: two workers, no database."""

import json
import secrets
import socket
import sys
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from stack.prometheus import Prometheus
from stack.settings import OF_THE_DEMO, ROOT
from stack.waiting import until
from tests.stack.conftest import Stack, free_ports

WORKERS = 2
FILE = """
[service]
name = "foreign"
environment = "test"
workers = {workers}

[slo]
objective = 0.99

[probe]
routes = ["GET /", "GET /sync/{{number}}"]

[load.mix]
"GET /sync/{{number}}" = {{path = "/sync/1"}}

[process]
prepare = ["{python} -c pass"]
start = "{python} -m uvicorn tests.stack.foreign_service:app --workers {workers} --port {{port}}"
directory = "{root}"
ready = "/"
"""


def two_free_ports() -> int:
    """The first of two ports that nobody has; workers count theirs up."""
    while True:
        with socket.socket() as one, socket.socket() as other:
            one.bind(("127.0.0.1", 0))
            port = one.getsockname()[1]
            try:
                other.bind(("127.0.0.1", port + 1))
            except OSError:
                continue
            return int(port)


@pytest.fixture(scope="module")
def around(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("foreign")
    file = folder / "firedrill.toml"
    file.write_text(FILE.format(python=sys.executable, root=ROOT, workers=WORKERS))
    ports = {name: port for name, port in free_ports().items() if name not in OF_THE_DEMO}
    ports["service_internal"] = two_free_ports()
    stack = Stack(folder / "local", ports, {"SERVICE": str(file)})
    try:
        stack.printed = stack.up()
        yield stack
    finally:
        stopped = stack.run("down").stdout
        stack.run("clean")
    assert "service-1" in stopped
    assert stack.processes() == []


@pytest.fixture(scope="module")
def prometheus(around: Stack) -> Iterator[Prometheus]:
    with Prometheus(around.url("prometheus")) as prometheus:
        yield prometheus


def targets(prometheus: Prometheus) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = prometheus.data("targets")["activeTargets"]
    return found


def test_every_target_comes_up_and_nothing_fires(around: Stack, prometheus: Prometheus) -> None:
    def all_up() -> bool:
        return {target["health"] for target in targets(prometheus)} == {"up"}

    until(all_up, "every target is up")
    up_since = max(value for _, value in prometheus.query("max(timestamp(up))"))

    def evaluated() -> bool:
        seen = prometheus.query('timestamp(ALERTS{alertname="Watchdog"})')
        return any(value > up_since + 6 for _, value in seen)

    until(evaluated, "the rules are evaluated after that")
    workers = [one["labels"] for one in targets(prometheus) if one["labels"]["job"] == "service"]
    assert len(workers) == WORKERS
    assert {(one["service"], one["env"]) for one in workers} == {("foreign", "test")}
    assert prometheus.query('ALERTS{alertname!="Watchdog",alertstate="firing"}') == []


def test_each_hop_from_the_service_to_the_pager_is_alive(around: Stack) -> None:
    done = around.run("doctor")

    assert done.returncode == 0, done.stdout
    hops = [line.split(maxsplit=1) for line in done.stdout.splitlines()]
    assert {state for state, _ in hops} == {"ok"}
    assert {name for _, name in hops} - {"collector"} == {
        *("service", "trace receiver", "prometheus", "rules", "alertmanager", "pager"),
    }


def test_nothing_but_what_the_file_asks_for_runs(around: Stack) -> None:
    done = around.run("status")

    assert done.returncode == 0, done.stdout
    parts = {line.split()[0] for line in done.stdout.split("\n\n")[0].splitlines()[2:]}
    assert parts - {"collector"} == {
        *("service-1", "viewer", "prometheus", "alertmanager", "pager", "second-channel"),
        *("prober", "log-rotation"),
    }


def test_a_failed_request_is_found_with_its_spans_and_its_line(around: Stack) -> None:
    # One answer of an error handler, which is nothing to wake anybody for.
    trace_id, parent = secrets.token_hex(16), secrets.token_hex(8)
    headers = {"traceparent": f"00-{trace_id}-{parent}-01"}

    answer = httpx.get(around.url("service", "/status/500"), headers=headers, trust_env=False)

    def found() -> Any:
        seen = httpx.get(around.url("viewer", f"/api/traces/{trace_id}"), trust_env=False)
        trace = seen.json() if seen.is_success else {}
        return trace if trace.get("spans") and trace.get("logs") else None

    assert answer.status_code == 500
    trace = until(found, "the trace and its line are in the viewer")
    assert '"service.name":"foreign"' in json.dumps(trace["logs"], separators=(",", ":"))
