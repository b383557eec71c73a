"""What Prometheus says of a drill, with the time of each hop."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

import httpx

from stack.prometheus import Labels, Points, Prometheus

STEP_SECONDS = 1.0
"""Step of the queries over the drill: finer than the scrapes, so that a hop is not rounded up."""

REFERENCES: Mapping[str, tuple[str, float]] = {
    "5xx > 14.4 x budget, 1 h and 5 min": (
        "(max({ratio1h}) > bool 0.0144) * (max({ratio5m}) > bool 0.0144)",
        0.0,
    ),
    "5xx > 5 % for 5 min": ("max({ratio5m}) > bool 0.05", 300.0),
    "5xx > 1 % for 15 min": ("max({ratio5m}) > bool 0.01", 900.0),
}
"""What others page on: an expression that is 1 when it holds, and its `for` in seconds."""


def samples(
    prometheus: Prometheus, promql: str, *, start: float, end: float
) -> list[tuple[Labels, Points]]:
    """Each series of a query with its (time, value); nothing when Prometheus does not answer."""
    step_seconds = max(STEP_SECONDS, (end - start) / 10_000)
    try:
        return prometheus.query_range(promql, start=start, end=end, step_seconds=step_seconds)
    except httpx.HTTPError:
        return []


def fired(prometheus: Prometheus, *, start: float, end: float) -> dict[str, dict[str, float]]:
    """When each alert was first pending and first firing, by name."""
    seen: dict[str, dict[str, float]] = {}
    for labels, values in samples(prometheus, "ALERTS", start=start, end=end):
        if labels["alertname"] in {"Watchdog", "FaultRecovering"}:
            continue
        states = seen.setdefault(labels["alertname"], {})
        state = labels["alertstate"]
        states[state] = min(states.get(state, values[0][0]), values[0][0])
    return seen


def paging_now(prometheus: Prometheus) -> set[str]:
    """Alerts that page, or are about to. Raises httpx.HTTPError."""
    return {labels["alertname"] for labels, _ in prometheus.query('ALERTS{severity="page"}')}


def first_above_zero(
    prometheus: Prometheus, promql: str, *, start: float, end: float
) -> float | None:
    found = samples(prometheus, promql, start=start, end=end)
    return min((at for _, values in found for at, value in values if value > 0), default=None)


def references(prometheus: Prometheus, *, start: float, end: float) -> dict[str, float | None]:
    """Seconds from `start` until each reference rule would have fired on the same series."""
    ratios = {
        f"ratio{window}": f"service_route:http_server_errors_per_request:ratio_rate{window}"
        for window in ("5m", "1h")
    }
    seconds: dict[str, float | None] = {}
    for name, (promql, hold) in REFERENCES.items():
        found = samples(prometheus, promql.format(**ratios), start=start, end=end)
        at = held_since(found[0][1], hold) if found else None
        seconds[name] = None if at is None else round(at - start, 1)
    return seconds


def held_since(values: Iterable[tuple[float, float]], hold_seconds: float) -> float | None:
    """When a condition had been true for so long; None: never."""
    since: float | None = None
    for at, value in values:
        if value <= 0:
            since = None
        elif since is None:
            since = at
        if since is not None and at - since >= hold_seconds:
            return at
    return None


def clock(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%H:%M:%S")
