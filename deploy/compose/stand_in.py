"""`python -m deploy.compose.stand_in`: starts docker-compose.yml for real on a machine without a registry.

An override names the stand-in images, and removes what their older generations do not know; nothing else
changes. Grafana, Tempo and Loki cannot be made here and are left out, and so is the collector where
`make tools` has not built one. Needs root, docker.io, docker-compose and debootstrap; an engine is started
for the occasion when none answers. Prints each check with its figure; exit 1 when one fails, 2 when it
cannot be tried.
"""

import argparse
import json
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import yaml

from deploy.compose import stand_in_images
from deploy.compose.engine import Unusable, await_that, engine, run
from deploy.compose.signal_check import Addresses, Missing, Seen, until
from stack.settings import ROOT

PROJECT = "firedrill-stand-in"
STARTED = (
    *("proxy", "prober", "prometheus", "alertmanager", "pager", "second-channel"),
    "postgres-exporter",
)
"""Compose adds what these depend on."""
HEALTHY_SECONDS = 240
VIEWER = "http://127.0.0.1:3000"
"""The native viewer listens on loopback: it shares the collector's network namespace."""
_VIEWER_COMMAND = ("python", "-m", "stack.viewer", "--db", "/tmp/traces.db", "--port")  # noqa: S108
_SINCE_ALERTMANAGER_0_30 = "--dispatch.start-delay=1m"


class Stack:
    """The compose file with the override, and the commands for it. ports: offset of the published ones."""

    def __init__(self, work: Path, *, offset: int) -> None:
        self.with_collector = (
            stand_in_images.collector() is not None and (ROOT / "otel-collector.yaml").exists()
        )
        self._file = work / "override.yml"
        self._file.write_text(yaml.safe_dump(self._override()))
        ports = {
            "SERVICE": 8000,
            "PROVIDER": 8090,
            "PROMETHEUS": 9090,
            "ALERTMANAGER": 9093,
            "PAGER": 9095,
            "SECOND_CHANNEL": 9097,
            "OTLP_GRPC": 4317,
            "OTLP": 4318,
        }
        self._environment = {
            "PYTHON_IMAGE": f"{stand_in_images.PREFIX}/python",
            **{
                variable: f"{stand_in_images.PREFIX}/{image}"
                for variable, image in stand_in_images.IMAGE_VARIABLES.items()
            },
            **{f"{name}_PORT": str(port + offset) for name, port in ports.items()},
        }
        url = "http://127.0.0.1:{}"
        self.addresses = Addresses(
            service=url.format(8000 + offset),
            prometheus=url.format(9090 + offset),
            pager=url.format(9095 + offset),
        )

    def _override(self) -> dict[str, object]:
        compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
        vouched = [
            word
            for word in compose["prober"]["healthcheck"]["test"]
            if not any(name in word for name in ("tempo:", "loki:"))
            and (self.with_collector or "otel-collector" not in word)
        ]
        alertmanager = [
            flag for flag in compose["alertmanager"]["command"] if flag != _SINCE_ALERTMANAGER_0_30
        ]
        build = {"args": {"BUILD_IMAGE": f"{stand_in_images.PREFIX}/build"}}
        return {
            "services": {
                "secrets": {"build": build},
                "prober": {"healthcheck": {"test": vouched}},
                "alertmanager": {"command": alertmanager},
                # In place of Tempo and Loki: what the collector sends can be read back from it.
                "otel-collector": {
                    "environment": dict.fromkeys(("TRACES_ENDPOINT", "LOGS_ENDPOINT"), VIEWER)
                },
                "viewer": {
                    "image": "firedrill/service:0.1.0",
                    "network_mode": "service:otel-collector",
                    "read_only": True,
                    "tmpfs": ["/tmp"],  # noqa: S108 - of the container
                    "command": [*_VIEWER_COMMAND, urlsplit(VIEWER).netloc.split(":")[1]],
                    "healthcheck": {
                        "test": [
                            *("CMD", "python", "-m", "deploy.image.healthcheck"),
                            f"{VIEWER}/healthz",
                        ]
                    },
                },
            }
        }

    def compose(self, *arguments: str) -> str:
        command = ["docker-compose"] if shutil.which("docker-compose") else ["docker", "compose"]
        files = ["-f", str(ROOT / "docker-compose.yml"), "-f", str(self._file)]
        return run(
            *command,
            *files,
            *("--project-directory", str(ROOT), "-p", PROJECT),
            *arguments,
            environment=self._environment,
        )

    @property
    def services(self) -> tuple[str, ...]:
        return (*STARTED, *(("otel-collector", "viewer") if self.with_collector else ()))

    def container(self, service: str) -> str:
        return self.compose("ps", "-q", service).strip()

    def unhealthy(self) -> list[str]:
        """Started parts that are not healthy, or not running where they have no check."""
        found = []
        for service in (*self.services, "service-1", "service-2", "postgres", "provider"):
            container = self.container(service)
            state = (
                json.loads(run("docker", "inspect", "--format", "{{json .State}}", container))
                if container
                else {}
            )
            is_checked = "Health" in state
            status = state["Health"]["Status"] if is_checked else state.get("Status", "absent")
            if status != ("healthy" if is_checked else "running"):
                found.append(f"{service}: {status}")
        return found

    def restart_first_replica(self) -> float:
        """Stop it by SIGTERM; returns the seconds until it had exited. Raises Unusable."""
        container = self.container("service-1")
        started = time.monotonic()
        run("docker", "stop", "--time", "15", container)
        seconds = time.monotonic() - started
        code = run("docker", "inspect", "--format", "{{.State.ExitCode}}", container).strip()
        if code != "0":
            raise Missing(f"service-1 exited {code} on SIGTERM")
        run("docker", "start", container)
        return seconds


def inside(stack: Stack) -> str:
    """What the image of the service must be: small rights, nothing to build with, a closed disk."""
    script = (
        "import os, shutil, json\n"
        "try:\n open('/app/x', 'w'); writable = True\n"
        "except OSError: writable = False\n"
        "print(json.dumps([os.getuid(), [c for c in ('cc', 'gcc', 'g++', 'make')"
        " if shutil.which(c)], writable]))"
    )
    user, compilers, writable = json.loads(
        run("docker", "exec", stack.container("service-1"), "python", "-c", script)
    )
    if user == 0 or compilers or writable:
        raise Missing(f"uid {user}, found {compilers}, writable root: {writable}")
    return f"uid {user}, no compiler, read-only root"


def sizes(_: Stack) -> str:
    names = ("firedrill/service:0.1.0", f"{stand_in_images.PREFIX}/python:latest")
    image, base = (
        int(run("docker", "image", "inspect", "--format", "{{.Size}}", name)) / 1e6
        for name in names
    )
    return f"{image:.0f} MB, of which {base:.0f} MB are the stand-in base"


def memory(_: Stack) -> str:
    listed = run("docker", "stats", "--no-stream", "--format", "{{.Name}} {{.MemUsage}}")
    prefix = f"{PROJECT}_"
    return "\n    ".join(
        ["", *sorted(line.removeprefix(prefix) for line in listed.splitlines() if prefix in line)]
    )


def lines_in_log(stack: Stack) -> str:
    """The file that the collector reads has the same lines as the container's own output."""
    count = run(
        *("docker", "exec", stack.container("service-1"), "python", "-c"),
        "import json; lines = [json.loads(l) for l in open('/var/lib/firedrill/logs/service-1.jsonl')];"
        "print(len(lines), sum('trace_id' in l for l in lines))",
    ).split()
    if int(count[1]) == 0:
        raise Missing("no line with a trace_id")
    return f"{count[0]} lines, {count[1]} with a trace_id"


def pipeline(stack: Stack, trace_id: str) -> str:
    """The 422's spans and log line, through the collector. Raises Missing."""
    script = (
        "import json, urllib.request as r; "
        f"t = json.load(r.urlopen('{VIEWER}/api/traces/{trace_id}')); "
        "print(len(t['spans']), len(t['logs']))"
    )

    def read() -> str:
        try:
            counts = run("docker", "exec", stack.container("viewer"), "python", "-c", script)
        except Unusable:
            return ""
        spans, lines = map(int, counts.split())
        return (
            f"{spans} spans and {lines} log lines of trace {trace_id}" if spans and lines else ""
        )

    return until("spans and log line of the 422", read)


def check(stack: Stack, *, say: Callable[[str], None]) -> bool:
    """Make every check; True when all hold."""
    seen = Seen(stack.addresses)
    left_out = frozenset() if stack.with_collector else frozenset({"collector"})
    checks: dict[str, Callable[[], str]] = {
        "image of the service": lambda: sizes(stack),
        "inside the container": lambda: inside(stack),
        "requests through the proxy": seen.sign_in_and_use,
        "targets up": lambda: seen.targets_up(left_out),
        "rules": seen.rules_loaded,
        "both replicas": seen.both_replicas_answer,
        "422 by field": seen.validation_error_counted,
        "probes": seen.probes_succeed,
        "database": seen.database_seen,
        "dead-man's switch": seen.dead_man_beats,
        "log file": lambda: lines_in_log(stack),
        **(
            {"traces and logs": lambda: pipeline(stack, seen.trace_id)}
            if stack.with_collector
            else {}
        ),
        "rolling stop": lambda: seen.nothing_lost_while(stack.restart_first_replica),
        "memory": lambda: memory(stack),
    }
    good = True
    for name, measure in checks.items():
        try:
            say(f"ok   {name}: {measure()}")
        except (Missing, Unusable) as error:
            good = False
            say(f"FAIL {name}: {error}")
    return good


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m deploy.compose.stand_in", description=__doc__)
    parser.add_argument("--work", type=Path, default=ROOT / ".local" / "stand-in")
    parser.add_argument("--port-offset", type=int, default=12000)
    parser.add_argument("--keep", action="store_true", help="leave the containers running")
    given = parser.parse_args(arguments)
    given.work.mkdir(parents=True, exist_ok=True)

    def say(text: str) -> None:
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()

    try:
        with engine(given.work):
            stand_in_images.make(given.work, say=say)
            stack = Stack(given.work, offset=given.port_offset)
            stack.compose("config", "--quiet")
            say(f"built: {len(stack.compose('build', 'secrets').splitlines())} lines of output")
            try:
                started = time.monotonic()
                stack.compose("up", "-d", *stack.services)
                try:
                    await_that("healthy", lambda: not stack.unhealthy(), HEALTHY_SECONDS)
                except Unusable:
                    raise Unusable("not healthy: " + ", ".join(stack.unhealthy())) from None
                say(f"healthy after {time.monotonic() - started:.0f} s")
                return 0 if check(stack, say=say) else 1
            finally:
                if not given.keep:
                    stack.compose("down", "--volumes", "--timeout", "10")
    except Unusable as error:
        sys.stderr.write(f"stand-in: {error}\n")
        return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
