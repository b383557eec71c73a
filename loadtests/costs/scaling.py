"""`python -m loadtests.costs.scaling`: what one replica costs its surroundings, for docs/scaling.md.

Needs the stack that `make up` starts. A replica of its own is started beside it, on the same database and
provider, with its spans and its log lines caught here, so that nobody else's traffic is in the figures.
Sends a fixed number of requests of a fixed mix and counts what comes out; writes scaling.json and
the page. CPU time, not throughput, is the base: it does not depend on who shares the cores.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import httpx

from loadtests.costs.scaling_page import Figures, render
from loadtests.observe.exposition import exposition, samples, total
from loadtests.record import record
from loadtests.world.collector_process import BackEnd
from loadtests.world.command import run
from stack import demo, lifecycle
from stack.command_line import Parser
from stack.credentials import load_credentials
from stack.environment import service_environment
from stack.readiness import answers
from stack.serving import free_port
from stack.settings import Settings, read_settings
from stack.waiting import until

ROUNDS = 100
MIX = (
    *(("GET", "/api/v1/profile"),) * 4,
    *(("GET", "/api/v1/settings"),) * 3,
    *(("GET", "/api/v1/calendar/events"),) * 2,
    ("PUT", "/api/v1/profile"),
)
"""Reads to writes as 9 to 1; one round is these ten requests and, every tenth round, a calendar sync."""
READY_SECONDS = 30.0
EXPORT_SECONDS = 15.0


def send(port: int) -> int:
    """Send the mix; returns the number of requests. Raises httpx.HTTPError."""
    count = 0
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=20) as client:
        user = {"username": demo.email_of(5), "password": demo.password_of(5)}
        answer = client.post("/api/v1/auth/token", data=user).raise_for_status()
        client.cookies.clear()
        client.headers["authorization"] = f"Bearer {answer.json()['access_token']}"
        client.headers["x-client-version"] = "web/1.9"
        profile = client.get("/api/v1/profile").raise_for_status().json()
        body = {name: profile.get(name) for name in ("display_name", "time_zone", "locale", "bio")}
        for round_number in range(ROUNDS):
            for method, path in MIX:
                client.request(
                    method, path, json=body if method == "PUT" else None
                ).raise_for_status()
                count += 1
            if round_number % 10 == 0:
                client.post("/api/v1/calendar/sync/auto").raise_for_status()
                count += 1
    return count


def measure(environment: Mapping[str, str]) -> Figures:
    """Run a replica under the mix. environment: of a service of the running stack."""
    port, internal = free_port(), free_port()
    internal_url = f"http://127.0.0.1:{internal}"
    receiver = BackEnd()
    receiver.start()
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "service.jsonl"
        with log.open("wb") as output:
            replica = subprocess.Popen(
                [sys.executable, "-m", "service"],
                stdout=output,
                env={
                    **environment,
                    "SERVICE_PORT": str(port),
                    "SERVICE_INTERNAL_PORT": str(internal),
                    "OTLP_ENDPOINT": f"http://127.0.0.1:{receiver.port}",
                    "LOG_FORMAT": "json",
                },
            )
        try:
            until(answers(internal, "/readyz"), "a replica that is ready", seconds=READY_SECONDS)
            send(port)  # warm: pools, caches, the label sets that only traffic makes
            _await_export(receiver)
            before = exposition(internal_url)
            log_before = log.stat().st_size
            spans_before, bytes_before = len(receiver.spans), receiver.received_bytes
            requests = send(port)
            _await_export(receiver)
            after = exposition(internal_url)
        finally:
            replica.terminate()
            replica.wait()
            receiver.stop()
        log_bytes = log.stat().st_size - log_before
    spans = len(receiver.spans) - spans_before
    about = record.about()

    def grown(name: str) -> float:
        return total([after], name) - total([before], name)

    return Figures(
        requests=requests,
        cpu_ms_per_request=grown("process_cpu_seconds_total") / requests * 1000,
        statements_per_request=grown("db_client_operation_duration_seconds_count") / requests,
        series_per_replica=sum(1 for _ in samples(after)),
        exposition_bytes=len(after),
        spans_per_request=spans / requests,
        bytes_per_span=(receiver.received_bytes - bytes_before) / spans,
        log_bytes_per_request=log_bytes / requests,
        resident_mb=total([after], "process_resident_memory_bytes") / 1e6,
        measured_at=about["date"],
        machine=f"{about['machine']}, Python {about['versions']['python']}",
    )


def _await_export(receiver: BackEnd) -> None:
    """Until nothing has come for two seconds: the exporter's longest pause is one."""
    quiet_since, seen = time.monotonic(), -1
    deadline = time.monotonic() + EXPORT_SECONDS
    while time.monotonic() < min(deadline, quiet_since + 2):
        if receiver.received_bytes != seen:
            quiet_since, seen = time.monotonic(), receiver.received_bytes
        time.sleep(0.1)


def _environment(settings: Settings) -> dict[str, str]:
    """The environment of a service of the running stack. Raises StackError."""
    running, _ = lifecycle.running(settings)
    credentials = load_credentials(settings.local)
    return os.environ | service_environment(running, credentials)


def main(arguments: Sequence[str]) -> int:
    parser = Parser(prog="scaling", description=__doc__)
    record.add_into(parser)
    options = parser.parse_args(arguments)
    figures = measure(_environment(read_settings()))
    record.publish(record.place(options.into), "scaling", asdict(figures), render(figures))
    return 0


if __name__ == "__main__":
    run("scaling", lambda: main(sys.argv[1:]))
