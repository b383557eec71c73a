"""Starts Locust with everything that a scenario needs to know about the system under test."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from loadtests.world.errors import CannotRunError
from stack.serving import LOOPBACK, free_port
from stack.settings import ROOT

RATE = 40.0
"""Requests a second: about half of what one replica on one core serves with everything measured."""
STOP_SECONDS = 30
INTERNAL_URLS = "LOADTEST_INTERNAL_URLS"
PROVIDER_URL = "LOADTEST_PROVIDER_URL"
OWNER_DSN = "LOADTEST_OWNER_DSN"
TOKENS_FILE = "LOADTEST_LEGACY_TOKENS"
ACCOUNTS_FILE = "LOADTEST_ACCOUNTS"
PHASES_PORT = "LOADTEST_METRICS_PORT"
RECORD = "LOADTEST_RECORD"


@dataclass(frozen=True)
class Target:
    """The system under test. hosts: of every replica, or of the balancer before them. The rest makes more of
    the scenarios possible, and is known of a stack on this machine. tokens_file: tokens of the older format
    by e-mail address, as JSON. accounts_file: headers of each account of a service that is not the demo, as
    JSON. metrics_port: where the load test says its phase to Prometheus.
    """

    hosts: Sequence[str]
    internal_urls: Sequence[str] = ()
    provider_url: str = ""
    owner_dsn: str = field(default="", repr=False)
    tokens_file: str = ""
    accounts_file: str = ""
    metrics_port: int = 0

    @property
    def environment(self) -> dict[str, str]:
        variables = {
            INTERNAL_URLS: ",".join(self.internal_urls),
            PROVIDER_URL: self.provider_url,
            OWNER_DSN: self.owner_dsn,
            TOKENS_FILE: self.tokens_file,
            ACCOUNTS_FILE: self.accounts_file,
            PHASES_PORT: str(self.metrics_port or ""),
        }
        return {name: value for name, value in variables.items() if value}


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


def measured(
    scenario: str,
    target: Target,
    *,
    tokens: Mapping[str, str],
    rate: float,
    seconds: float | None,
) -> dict[str, Any]:
    """Run a scenario to its end and return its record. tokens: of the older format, by e-mail address.

    Raises CannotRunError where Locust leaves no record.
    """
    with tempfile.TemporaryDirectory(prefix="load-") as directory:
        tokens_file, record = Path(directory) / "tokens.json", Path(directory) / "record.json"
        tokens_file.write_text(json.dumps(dict(tokens)))
        target = replace(target, tokens_file=str(tokens_file))
        words = [*command(scenario, target, rate=rate, seconds=seconds), "--only-summary"]
        code = run(words, target, record=record)
        if not record.exists():
            raise CannotRunError(f"{scenario}: Locust ended with {code} and no record")
        found: dict[str, Any] = json.loads(record.read_text())
        return found


def run(words: Sequence[str], target: Target, *, record: Path | None = None) -> int:
    """Run Locust to its end; returns its exit code (0, 1 or 2; 130 when interrupted)."""
    more: Mapping[str, str] = {RECORD: str(record)} if record else {}
    with subprocess.Popen(
        words, cwd=ROOT, env={**os.environ, **target.environment, **more}
    ) as locust:
        try:
            return locust.wait()
        except KeyboardInterrupt:
            locust.wait()
            return 130
