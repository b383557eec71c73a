"""Starts Locust with everything that a scenario needs to know about the system it meets."""

import os
import subprocess
import sys
from argparse import ArgumentTypeError
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from loadtests.scenarios import RATE
from stack.serving import LOOPBACK, free_port
from stack.settings import ROOT

STOP_SECONDS = 30


def above_zero(text: str) -> float:
    """A rate or a duration of a command line. Raises argparse.ArgumentTypeError."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 1e6:
        raise ArgumentTypeError(f"{text!r} is no number above 0")
    return value


@dataclass(frozen=True)
class Target:
    """What is met. hosts: of every replica, or of the balancer before them. The rest makes more of the
    scenarios possible, and is known of a stack on this machine.
    """

    hosts: Sequence[str]
    internal_urls: Sequence[str] = ()
    provider_url: str = ""
    owner_dsn: str = field(default="", repr=False)
    tokens_file: str = ""
    metrics_port: int = 0

    @property
    def environment(self) -> dict[str, str]:
        told = {
            "LOADTEST_INTERNAL_URLS": ",".join(self.internal_urls),
            "LOADTEST_PROVIDER_URL": self.provider_url,
            "LOADTEST_OWNER_DSN": self.owner_dsn,
            "LOADTEST_LEGACY_TOKENS": self.tokens_file,
            "LOADTEST_METRICS_PORT": str(self.metrics_port or ""),
        }
        return {name: value for name, value in told.items() if value}


def command(
    scenario: str,
    target: Target,
    *,
    rate: float = RATE,
    seconds: float | None = None,
    seed: int = 1,
    processes: int = 1,
    reports: Path | None = None,
    web_port: int | None = None,
) -> list[str]:
    """Locust's command line. processes: generators; more than one are workers of a master."""
    host, *also = target.hosts
    words = [
        *(sys.executable, "-m", "locust", "--locustfile", str(ROOT / "loadtests/locustfile.py")),
        *("--host", host, "--scenario", scenario, "--rate", f"{rate:g}", "--seed", str(seed)),
        *("--users", str(processes), "--spawn-rate", str(processes)),
        *("--stop-timeout", str(STOP_SECONDS)),
    ]
    if also:
        words += ["--also", ",".join(also)]
    if seconds is not None:
        words += ["--duration", f"{seconds:g}"]
    if processes > 1:
        # By default every master listens on 5557: the workers of two load tests would mix.
        port = str(free_port())
        words += ["--processes", str(processes), "--master-bind-host", LOOPBACK]
        words += ["--master-bind-port", port, "--master-port", port]
    if web_port is not None:
        return [*words, "--web-host", "127.0.0.1", "--web-port", str(web_port)]
    words.append("--headless")
    if reports is not None:
        # No --csv: its writer does not know that the run is over, and writes into a closed file.
        words += ["--html", f"{reports}.html"]
    return words


def run(words: Sequence[str], target: Target, *, record: Path | None = None) -> int:
    """Run Locust to its end; returns its exit code (0, 1 or 2; 130 when interrupted)."""
    more: Mapping[str, str] = {"LOADTEST_RECORD": str(record)} if record else {}
    with subprocess.Popen(
        words, cwd=ROOT, env={**os.environ, **target.environment, **more}
    ) as locust:
        try:
            return locust.wait()
        except KeyboardInterrupt:
            locust.wait()
            return 130
