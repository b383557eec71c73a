"""The record of a load test: what `docs/load.md` is made of, and what a comparison of two runs reads."""

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from loadtests.judge.limits import Limit, percentile
from loadtests.judge.run import Run
from loadtests.traffic.sample import Sample

SLOWEST = 5


def of(
    run: Run, limits: Sequence[Limit], void: str | None, *, rate: float, seed: int
) -> dict[str, Any]:
    """rate: requests a second that were asked for. void: why the result says nothing, or None."""
    return {
        "scenario": run.scenario,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "rate": rate,
        "seed": seed,
        "void": void,
        "requests": len(run.samples),
        "planned": run.owed,
        "dropped": run.dropped,
        "limits": [limit.row for limit in limits],
        "phases": [_phase(run, phase.name) for phase in run.phases],
        "judged": run.judged,
    }


def _phase(run: Run, name: str) -> dict[str, Any]:
    samples = run.of(name)
    return {
        "name": name,
        "requests": len(samples),
        "goodput": round(run.goodput(name), 2),
        "statuses": dict(sorted(Counter(str(sample.status) for sample in samples).items())),
        "codes": dict(Counter(sample.code for sample in samples if sample.code).most_common()),
        **_percentiles("seconds", [sample.seconds for sample in samples]),
        **_percentiles("late_seconds", [s.late_seconds for s in samples if not s.is_at_once]),
        "slowest": [_slow(sample) for sample in _slowest(samples)],
    }


def _percentiles(name: str, values: Sequence[float]) -> dict[str, float]:
    if not values:
        return {}
    shares = {"p50": 0.5, "p95": 0.95, "p99": 0.99, "max": 1.0}
    return {
        f"{name}_{share}": round(percentile(values, fraction), 4)
        for share, fraction in shares.items()
    }


def _slowest(samples: Sequence[Sample]) -> list[Sample]:
    return sorted(samples, key=lambda sample: -sample.seconds)[:SLOWEST]


def _slow(sample: Sample) -> dict[str, Any]:
    """A slow request leads to its trace."""
    return {
        "route": sample.route,
        "seconds": round(sample.seconds, 3),
        "status": sample.status,
        "trace_id": sample.trace_id,
    }
