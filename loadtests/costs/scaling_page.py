"""docs/scaling.md: which part is the limit at ten, a hundred, a thousand times the load, and why.

The arithmetic of the page, from the figures that `measure` and the collector's bench took; a test rebuilds
and compares. What is assumed and not measured is a named constant here, and said on the page.
`python -m loadtests.costs.scaling_page` writes the page from the records alone.
"""

import json
import math
import re
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import yaml

from loadtests.world.command import run
from service.app import GRANTS_EVERY_SECONDS
from service.config import Config
from stack.command_line import Parser
from stack.settings import ROOT

FIGURES = ROOT / "docs" / "scaling.json"
PAGE = ROOT / "docs" / "scaling.md"
COLLECTOR_FIGURES = ROOT / "docs" / "collector.json"
TEMPLATE = Path(__file__).with_name("scaling.md")
DEPLOYMENT = ROOT / "deploy" / "kubernetes" / "service"

BASE_REQUESTS_PER_SECOND = 50
"""The load that is multiplied: two replicas of docker-compose.yml on two shared cores take it with ease."""
FACTORS = (1, 10, 100, 1000)
CORE_RATIO = 0.7
"""Share of a core that a replica uses: the autoscaler's target."""
SCRAPE_SECONDS = 5
DAY_SECONDS = 86_400
BASE_RATIO = float(Config.model_fields["trace_base_ratio"].default)

# Assumed, as an order of magnitude of one server with a fast disk; measure yours.
PROMETHEUS_SERIES_MAX = 2_000_000
POSTGRES_CONNECTIONS_MAX = 500
POSTGRES_STATEMENTS_PER_SECOND_MAX = 20_000
WORKER_REQUESTS_PER_SECOND = 500


@dataclass(frozen=True)
class Figures:
    """What one replica costs, measured over `requests` requests of the mix."""

    requests: int
    cpu_ms_per_request: float
    statements_per_request: float
    series_per_replica: int
    exposition_bytes: int
    spans_per_request: float
    bytes_per_span: float
    log_bytes_per_request: float
    resident_mb: float
    measured_at: str
    machine: str


@dataclass(frozen=True)
class Gateway:
    """What one gateway collector can do; it has a core, and num_traces bounds its memory."""

    spans_per_cpu_second: int
    """Measured: the lower of the bench's two loads."""
    measured_at: str
    undecided_traces_max: int
    decision_wait_seconds: int

    def needed(self, *, spans_per_second: float, traces_per_second: float) -> int:
        """By whichever runs out first. All traces wait: those that are kept are few, and leave sooner."""
        by_cpu = spans_per_second / (self.spans_per_cpu_second * CORE_RATIO)
        by_memory = traces_per_second * self.decision_wait_seconds / self.undecided_traces_max
        return math.ceil(max(by_cpu, by_memory))


def gateway() -> Gateway:
    """As docs/collector.json measured it and otel-collector.yaml sets it."""
    record = json.loads(COLLECTOR_FIGURES.read_text(encoding="utf-8"))
    collector = yaml.safe_load((ROOT / "otel-collector.yaml").read_text(encoding="utf-8"))
    sampling = collector["processors"]["tail_sampling"]
    (wait,) = re.findall(r":-(\d+)s\}", sampling["decision_wait"])
    return Gateway(
        spans_per_cpu_second=min(
            record[load]["accepted_per_cpu_second"] for load in ("flood", "steady")
        ),
        measured_at=record["date"],
        undecided_traces_max=sampling["num_traces"],
        decision_wait_seconds=int(wait),
    )


@dataclass(frozen=True)
class Load:
    """One column of the table."""

    factor: int
    requests_per_second: int
    replicas: int
    connections: int
    statements_per_second: float
    series: int
    samples_per_second: float
    spans_per_second: float
    undecided_traces: float
    gateways: int
    span_gb_per_day: float
    """Before sampling; kept: BASE_RATIO of it and whatever is remarkable."""
    log_gb_per_day: float


def load_of(figures: Figures, factor: int, *, pool_size: int, one: Gateway) -> Load:
    """What a load needs. At least two replicas and two gateways, so that one can go. A request is a trace."""
    rate = BASE_REQUESTS_PER_SECOND * factor
    replicas = max(2, math.ceil(rate * figures.cpu_ms_per_request / 1000 / CORE_RATIO))
    spans = rate * figures.spans_per_request
    series = replicas * figures.series_per_replica
    return Load(
        factor=factor,
        requests_per_second=rate,
        replicas=replicas,
        connections=replicas * pool_size,
        statements_per_second=rate * figures.statements_per_request,
        series=series,
        samples_per_second=series / SCRAPE_SECONDS,
        spans_per_second=spans,
        undecided_traces=rate * one.decision_wait_seconds,
        gateways=max(2, one.needed(spans_per_second=spans, traces_per_second=rate)),
        span_gb_per_day=spans * figures.bytes_per_span * DAY_SECONDS / 1e9,
        log_gb_per_day=rate * figures.log_bytes_per_request * DAY_SECONDS / 1e9,
    )


def limits_of(load: Load) -> list[str]:
    """What is over one server's reach at this load."""
    found = []
    if load.connections > POSTGRES_CONNECTIONS_MAX:
        found.append("PostgreSQL connections")
    if load.statements_per_second > POSTGRES_STATEMENTS_PER_SECOND_MAX:
        found.append("PostgreSQL statements")
    if load.series > PROMETHEUS_SERIES_MAX:
        found.append("one Prometheus")
    return found


def autoscaling() -> tuple[int, int]:
    """(most replicas, connections of each) as the manifests say."""
    scaler = next(yaml.safe_load_all((DEPLOYMENT / "scaling.yaml").read_text(encoding="utf-8")))
    deployment = next(
        yaml.safe_load_all((DEPLOYMENT / "deployment.yaml").read_text(encoding="utf-8"))
    )
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    pool = next(int(one["value"]) for one in container["env"] if one["name"] == "POOL_SIZE")
    return int(scaler["spec"]["maxReplicas"]), pool


def _number(value: float) -> str:
    digits = 0 if value >= 10 or value == int(value) else 1
    return f"{value:,.{digits}f}".replace(",", " ")


def _table(loads: list[Load]) -> str:
    rows: list[tuple[str, list[float]]] = [
        ("requests/s", [load.requests_per_second for load in loads]),
        ("replicas", [load.replicas for load in loads]),
        ("database connections", [load.connections for load in loads]),
        ("statements/s", [load.statements_per_second for load in loads]),
        ("series", [load.series for load in loads]),
        ("samples/s", [load.samples_per_second for load in loads]),
        ("spans/s, before sampling", [load.spans_per_second for load in loads]),
        ("traces that wait for a mark", [load.undecided_traces for load in loads]),
        ("gateway collectors", [load.gateways for load in loads]),
        ("spans GB/day, before sampling", [load.span_gb_per_day for load in loads]),
        (
            f"spans GB/day, kept at the base ratio {BASE_RATIO:g}",
            [load.span_gb_per_day * BASE_RATIO for load in loads],
        ),
        ("logs GB/day", [load.log_gb_per_day for load in loads]),
    ]
    head = "| | " + " | ".join(f"{load.factor} times" for load in loads) + " |"
    lines = [head, "|---" + "|---:" * len(loads) + "|"]
    lines += [f"| {name} | {' | '.join(map(_number, values))} |" for name, values in rows]
    over = " | ".join(", ".join(limits_of(load)) or "-" for load in loads)
    return "\n".join([*lines, f"| **over one server's reach** | {over} |"])


def render(figures: Figures) -> str:
    """Return the page."""
    replicas, pool = autoscaling()
    one = gateway()
    loads = [load_of(figures, factor, pool_size=pool, one=one) for factor in FACTORS]
    words = {
        name: {field: _number(value) for field, value in asdict(load).items()}
        for name, load in zip(("one", "ten", "hundred", "thousand"), loads, strict=True)
    }
    return TEMPLATE.read_text(encoding="utf-8").format(
        **asdict(figures),
        **words,
        table=_table(loads),
        per_core=1000 / figures.cpu_ms_per_request * CORE_RATIO,
        exposition_kb=figures.exposition_bytes / 1000,
        base=BASE_REQUESTS_PER_SECOND,
        core_ratio=CORE_RATIO,
        scrape_seconds=SCRAPE_SECONDS,
        replicas=replicas,
        pool=pool,
        connections_max=replicas * pool,
        prometheus_series_max=_number(PROMETHEUS_SERIES_MAX),
        postgres_connections_max=_number(POSTGRES_CONNECTIONS_MAX),
        postgres_statements_max=_number(POSTGRES_STATEMENTS_PER_SECOND_MAX),
        gateway_spans=_number(one.spans_per_cpu_second * CORE_RATIO),
        gateway_measured_at=one.measured_at,
        gateway_traces=_number(one.undecided_traces_max),
        decision_wait=one.decision_wait_seconds,
        grant_queries=_number(loads[-1].replicas / GRANTS_EVERY_SECONDS),
        workers=_number(loads[-1].requests_per_second / WORKER_REQUESTS_PER_SECOND),
    )


def main(arguments: Sequence[str]) -> int:
    Parser(prog="scaling_page", description=__doc__).parse_args(arguments)
    PAGE.write_text(render(Figures(**json.loads(FIGURES.read_text("utf-8")))), encoding="utf-8")
    return 0


if __name__ == "__main__":
    run("scaling_page", lambda: main(sys.argv[1:]))
