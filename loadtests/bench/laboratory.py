"""Where all of it is measured: the cores, the database, the collector, and how long each thing is loaded."""

import os
import sys
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loadtests.bench.environments import python_of
from loadtests.bench.generator import CLIENTS, Ask, load
from loadtests.bench.modes import Mode
from loadtests.bench.server import Server, busy_seconds, serving
from loadtests.observe.exposition import exposition, total
from loadtests.world.collector_process import Collector
from loadtests.world.surroundings import Surroundings
from stack.readiness import answers, is_open
from stack.serving import free_port
from stack.settings import ROOT

Row = dict[str, Any]
OTHER_SHARE_MAX = 0.03
"""Share of the server's core that others took during a measurement: above it, it is repeated."""
HISTOGRAMS = (
    "http_server_request_duration_seconds_count",
    "http_request_duration_seconds_count",
    "starlette_request_duration_seconds_count",
)


@dataclass(frozen=True)
class Lengths:
    """How much of each. rounds: of the claims. tries: of a figure that others disturbed. Else seconds."""

    rounds: int
    tries: int
    warm: float
    saturated: float
    at_rate: float
    sink: float


FULL = Lengths(rounds=5, tries=3, warm=0.5, saturated=2.5, at_rate=1.5, sink=6.0)
QUICK = Lengths(rounds=1, tries=1, warm=0.5, saturated=1.0, at_rate=0.5, sink=2.0)


@dataclass(frozen=True)
class Laboratory:
    """core: of the server under test. directory: empty, to start it in. stop: once set, none is started.

    kit_before: a folder with `firedrill_kit` of another commit; checkout_before: all of it.
    """

    core: int
    directory: Path
    around: Surroundings
    collector: Collector
    lengths: Lengths
    say: Callable[[str], object]
    stop: threading.Event
    kit_before: Path | None = None
    checkout_before: Path | None = None

    @property
    def otlp(self) -> str:
        return f"http://127.0.0.1:{self.collector.ports['OTLP']}"

    def spans(self) -> float:
        """How many spans the collector has received since its start."""
        return self.collector.metric("otelcol_receiver_accepted_spans_total")

    def mode(
        self, mode: Mode, *, kit: Path | None = None, **variables: str
    ) -> "tuple[Ports, AbstractContextManager[Server]]":
        """A server of a mode, to be entered. kit: a folder with another firedrill_kit.

        Raises stack.tools.building.BuildError, NotReadyError once it is entered.
        """
        self._go_on()
        python = python_of(mode.environment)
        ports = Ports(free_port(), free_port())
        words = [
            *(str(python.with_name(program)) for program in mode.program),
            *(str(python), "-m", "loadtests.bench.apps", *mode.app, str(ports.app)),
        ]
        dsn = self.around.dsn("superuser").replace("postgresql:", "postgresql+asyncpg:")
        environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": os.pathsep.join(str(one) for one in (kit, ROOT) if one),
            "BENCH_DATABASE_URL": dsn,
            "OTEL_EXPORTER_OTLP_ENDPOINT": self.otlp,
            "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
            "OTEL_SERVICE_NAME": "bench",
            "FIREDRILL_METRICS_PORT": str(ports.metrics),
            **mode.variables,
            **variables,
        }
        return ports, serving(
            words,
            environment,
            directory=self.directory,
            core=self.core,
            is_ready=is_open(ports.app),
        )

    def service(
        self, checkout: Path, **variables: str
    ) -> "tuple[Ports, AbstractContextManager[Server]]":
        """The service of a checkout, to be entered; this checkout's Python. Raises NotReadyError then."""
        self._go_on()
        ports = Ports(free_port(), free_port())
        environment = {
            **os.environ,
            **self.around.environment,
            # Straight, not through the fault proxies, which are programs of Python's.
            "DATABASE_PORT": str(self.around.postgres.port),
            "PROVIDER_URL": self.around.provider_url,
            "OTLP_ENDPOINT": self.otlp,
            "SERVICE_PORT": str(ports.app),
            "SERVICE_INTERNAL_PORT": str(ports.metrics),
            "LOGIN_ATTEMPTS_PER_MINUTE": "100000",
            # Empty: compiled once, as an installed service is, and not at each start.
            "PYTHONDONTWRITEBYTECODE": "",
            **variables,
        }
        return ports, serving(
            [sys.executable, "-m", "service"],
            environment,
            directory=checkout,
            core=self.core,
            is_ready=answers(ports.metrics, "/readyz"),
        )

    def _go_on(self) -> None:
        if self.stop.is_set():
            raise InterruptedError

    def saturate(self, server: Server, port: int, ask: Ask, *, clients: int = CLIENTS) -> Row:
        """Send as many requests as the server answers: the CPU time of each, and how many a second.

        Taken again when others were at work on the core. Raises GeneratorError.
        """
        row: Row = {}
        for _ in range(self.lengths.tries):
            cpu, busy = server.cpu_seconds(), busy_seconds(server.core)
            found = load(port, ask, seconds=self.lengths.saturated, clients=clients)
            p99 = found.percentile(0.99)
            cpu = server.cpu_seconds() - cpu
            busy = busy_seconds(server.core) - busy
            row = {
                "requests": found.count,
                "sent": row.get("sent", 0) + found.sent,
                "per_second": round(found.count / found.seconds, 1),
                "cpu_us": round(cpu / found.count * 1e6, 1),
                "refused": found.refused,
                "p99_saturated_ms": p99,
                "other_share": round(max(0.0, busy - cpu) / found.seconds, 3),
            }
            if row["other_share"] <= OTHER_SHARE_MAX:
                break
        return row


@dataclass(frozen=True)
class Ports:
    """app: of the application. metrics: of what answers the operators."""

    app: int
    metrics: int


def counted(ports: Ports, mode: Mode) -> float:
    """Requests in the histogram that the mode has. Raises httpx.HTTPError."""
    port = {"own": ports.metrics, "app": ports.app}[mode.metrics]
    text = exposition(f"http://127.0.0.1:{port}")
    return max(total([text], name) for name in HISTOGRAMS)
