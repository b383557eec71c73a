"""What the pager and Prometheus say of a drill, with the time of each hop."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import httpx

from loadtests.world.stage import Stage

STEP_SECONDS = 1.0
"""Of the queries over the drill: finer than the scrapes, so that a hop is not rounded up."""

REFERENCES: Mapping[str, tuple[str, float]] = {
    "5xx > 14.4 x budget, 1 h and 5 min": (
        "(max({ratio1h}) > bool 0.0144) * (max({ratio5m}) > bool 0.0144)",
        0.0,
    ),
    "5xx > 5 % for 5 min": ("max({ratio5m}) > bool 0.05", 300.0),
    "5xx > 1 % for 15 min": ("max({ratio5m}) > bool 0.01", 900.0),
}
"""What others page on: an expression that is 1 when it holds, and its `for` in seconds."""


@dataclass(frozen=True)
class Notice:
    """One notification as a pager stored it. rang: its group had nothing firing before."""

    at: float
    status: str
    receiver: str
    group: str
    rang: bool
    alerts: tuple[str, ...]
    text: str
    runbook: str

    @property
    def is_page(self) -> bool:
        return self.rang and self.receiver in {"pager", "second_channel"}


async def notices(stage: Stage, http: httpx.AsyncClient) -> list[Notice]:
    """Every notification so far, oldest first; a pager that does not answer has none to tell."""
    found: list[Notice] = []
    for port in ("pager", "second_channel"):
        try:
            answer = await http.get(stage.settings.url(port, "/pages"))
            answer.raise_for_status()
        except httpx.HTTPError:
            continue
        found += [_notice(one) for one in answer.json()]
    return sorted(found, key=lambda notice: notice.at)


def _notice(stored: Mapping[str, Any]) -> Notice:
    firing = [alert for alert in stored["alerts"] if alert["status"] == stored["status"]]
    # A cause names the page; a symptom in the same group is what it explains.
    firing.sort(key=lambda alert: (alert["labels"].get("kind") != "cause", alert["starts_at"]))
    first = firing[0]["annotations"] if firing else {}
    return Notice(
        at=datetime.fromisoformat(stored["received_at"]).timestamp(),
        status=stored["status"],
        receiver=stored["receiver"],
        group=stored["group_key"],
        rang=stored["opened"],
        alerts=tuple(dict.fromkeys(alert["labels"]["alertname"] for alert in firing)),
        text=" ".join(first[name] for name in ("summary", "description") if name in first),
        runbook=first.get("runbook_url", ""),
    )


async def samples(
    stage: Stage, http: httpx.AsyncClient, promql: str, *, start: float, end: float
) -> list[tuple[Mapping[str, str], list[tuple[float, float]]]]:
    """Each series of a query with its (time, value); nothing when Prometheus does not answer."""
    parameters: dict[str, str | float] = {
        "query": promql,
        "start": start,
        "end": end,
        "step": max(STEP_SECONDS, (end - start) / 10_000),
    }
    try:
        answer = await http.get(
            stage.settings.url("prometheus", "/api/v1/query_range"), params=parameters
        )
        answer.raise_for_status()
    except httpx.HTTPError:
        return []
    return [
        (series["metric"], [(float(at), float(value)) for at, value in series["values"]])
        for series in answer.json()["data"]["result"]
    ]


async def fired(
    stage: Stage, http: httpx.AsyncClient, *, start: float, end: float
) -> dict[str, dict[str, float]]:
    """When each alert was first pending and first firing, by name."""
    seen: dict[str, dict[str, float]] = {}
    for labels, values in await samples(stage, http, "ALERTS", start=start, end=end):
        if labels["alertname"] in {"Watchdog", "FaultRecovering"}:
            continue
        states = seen.setdefault(labels["alertname"], {})
        state = labels["alertstate"]
        states[state] = min(states.get(state, values[0][0]), values[0][0])
    return seen


async def paging_now(stage: Stage, http: httpx.AsyncClient) -> set[str]:
    """Alerts that page, or are about to."""
    promql = 'ALERTS{severity="page"}'
    answer = await http.get(
        stage.settings.url("prometheus", "/api/v1/query"), params={"query": promql}
    )
    answer.raise_for_status()
    return {series["metric"]["alertname"] for series in answer.json()["data"]["result"]}


async def first_above_zero(
    stage: Stage, http: httpx.AsyncClient, promql: str, *, start: float, end: float
) -> float | None:
    found = await samples(stage, http, promql, start=start, end=end)
    times = [at for _, values in found for at, value in values if value > 0]
    return min(times, default=None)


async def references(
    stage: Stage, http: httpx.AsyncClient, *, start: float, end: float
) -> dict[str, float | None]:
    """Seconds from `start` until each reference rule would have fired on the same series."""
    ratios = {
        f"ratio{window}": f"service_route:http_server_errors_per_request:ratio_rate{window}"
        for window in ("5m", "1h")
    }
    seconds: dict[str, float | None] = {}
    for name, (promql, hold) in REFERENCES.items():
        found = await samples(stage, http, promql.format(**ratios), start=start, end=end)
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


def pages(found: Sequence[Notice], *, since: float) -> list[Notice]:
    return [notice for notice in found if notice.is_page and notice.at >= since]


def clock(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%H:%M:%S")
