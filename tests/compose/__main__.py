"""`python -m tests.compose`: starts docker-compose.yml for real on a machine without a registry.

An override names the stand-in images, and removes what their older generations do not know; nothing else
changes. Grafana, Tempo and Loki cannot be made here and are left out, and so is the collector where
`make tools` has not built one. Needs root, docker.io, docker-compose and debootstrap; an engine is started
for the occasion when none answers. Prints each check with its figure, and writes docs/compose.json and
docs/compose.md; exit 1 when a check fails, 2 when it cannot be tried. `--page` writes the page alone.
"""

import argparse
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

from stack.settings import ROOT
from tests.compose import containers, images, record
from tests.compose.engine import Unusable, await_that, engine, run
from tests.compose.signal_check import Missing, Seen
from tests.compose.stack import Stack

HEALTHY_SECONDS = 600
"""Patience: how long it took is in the record."""


def check(
    stack: Stack, figures: dict[str, Any], *, say: Callable[[str], None]
) -> list[record.Check]:
    """Make every check. figures: what is kept beside the words of each."""
    seen = Seen(stack.addresses)
    left_out = frozenset() if stack.with_collector else frozenset({"collector"})

    def rolling_stop() -> str:
        stop = seen.stop_under_load(lambda: containers.restart_first_replica(stack))
        figures["stop"] = {"seconds": stop.seconds, "requests": stop.requests, "lost": stop.lost}
        return stop.judged()

    checks: dict[str, Callable[[], str]] = {
        "images": lambda: containers.sizes(figures),
        "inside the container": lambda: containers.inside(stack),
        "targets up": lambda: seen.targets_up(left_out),
        "rules": seen.rules_loaded,
        "runbooks": seen.runbooks_are_served,
        "both replicas": seen.both_replicas_answer,
        "probes": seen.probes_succeed,
        "dead-man's switch": seen.dead_man_beats,
        "log file": lambda: containers.lines_in_log(stack),
        "log rotation": lambda: containers.log_is_rotated(stack),
        **({"signal matrix": lambda: matrix(stack)} if stack.with_collector else {}),
        "versions": lambda: versions(stack, seen, figures),
        "Compose v2": lambda: stack.config_of_v2(figures),
        "rolling stop": rolling_stop,
        "profile drill": lambda: containers.fault_proxy(stack),
        "profile load": lambda: containers.load(stack),
        "memory": lambda: containers.memory(figures),
    }
    made = []
    for name, measure in checks.items():
        started = time.monotonic()
        try:
            holds, result = True, measure()
        except (Missing, Unusable, httpx.HTTPError, LookupError, ValueError) as error:
            holds, result = False, f"{type(error).__name__}: {error}"
        made.append(record.Check(name, holds, result, round(time.monotonic() - started, 1)))
        say(str(made[-1]))
    return made


def matrix(stack: Stack) -> str:
    """The questions of the native stack's tests, put to these containers. Raises Unusable."""
    printed = run(
        *(sys.executable, "-m", "pytest", "--quiet", "tests/stack/test_signal_matrix.py"),
        environment=stack.matrix_environment,
    )
    return printed.strip().splitlines()[-1]


def versions(stack: Stack, seen: Seen, figures: dict[str, Any]) -> str:
    """What has really run; newer generations are named in docker-compose.yml. Raises Unusable."""
    asked = {
        "Prometheus": ("prometheus_build_info", "version"),
        "Alertmanager": ("alertmanager_build_info", "version"),
        "HAProxy": ("haproxy_process_build_info", "version"),
        "PostgreSQL": ("pg_static", "short_version"),
    }
    found = {
        "Docker": run("docker", "version", "--format", "{{.Server.Version}}").strip(),
        "Compose": stack.compose("version", "--short").strip(),
    }
    for program, (metric, label) in asked.items():
        found[program] = seen.prometheus.query(metric)[0][0][label]
    if collector := images.collector():
        found["collector"] = run(collector, "--version").split()[-1]
    figures["versions"] = found
    return ", ".join(f"{program} {version}" for program, version in found.items())


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.compose", description=__doc__)
    parser.add_argument("--work", type=Path, default=ROOT / ".local" / "stand-in")
    parser.add_argument("--port-offset", type=int, default=12000)
    parser.add_argument("--keep", action="store_true", help="leave the containers running")
    parser.add_argument("--page", action="store_true", help="write the page from the record")
    given = parser.parse_args(arguments)
    if given.page:
        record.write_page()
        return 0
    given.work.mkdir(parents=True, exist_ok=True)

    def say(text: str) -> None:
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()

    try:
        load_average = round(os.getloadavg()[0], 1)
        with engine(given.work):
            images.make(given.work, say=say)
            stack = Stack(given.work, offset=given.port_offset)
            stack.compose("config", "--quiet")
            for image in ("secrets", "load-master"):
                say(f"built: {len(stack.compose('build', image).splitlines())} lines of output")
            try:
                figures = {"load_average_at_start": load_average, "healthy_seconds": _up(stack)}
                say(f"healthy after {figures['healthy_seconds']:.0f} s")
                checks = check(stack, figures, say=say)
                record.write(checks, figures)
                return 0 if all(one.holds for one in checks) else 1
            finally:
                if not given.keep:
                    stack.compose("down", "--volumes", "--timeout", "10")
    except Unusable as error:
        sys.stderr.write(f"stand-in: {error}\n")
        return 2


def _up(stack: Stack) -> float:
    """Start it; returns the seconds until all parts were healthy. Raises Unusable."""
    started = time.monotonic()
    stack.compose("up", "-d", *stack.services)
    try:
        await_that("healthy", lambda: not stack.unhealthy(), HEALTHY_SECONDS)
    except Unusable:
        raise Unusable("not healthy: " + ", ".join(stack.unhealthy())) from None
    return round(time.monotonic() - started, 1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
