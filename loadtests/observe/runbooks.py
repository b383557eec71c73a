"""What a drill proves of the runbooks: their first query has data during the fault; when it last ran."""

import re
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

import httpx

from alerting.catalogue import Alert, load_alerts
from stack.prometheus import Prometheus

_CONFIRM = re.compile(r"^## Confirm in 60 s\n(.*?)^## ", re.DOTALL | re.MULTILINE)
_QUERY = re.compile(r"```promql\n(.*?)```", re.DOTALL)


def confirmed(prometheus: Prometheus, alerts: Sequence[str]) -> dict[str, bool]:
    """Whether each query under "Confirm in 60 s" has data now, by alert; without those that have none.

    Empty when Prometheus does not answer: nobody can confirm anything then.
    """
    try:
        return {
            alert.name: all(prometheus.query(query) for query in _queries(alert))
            for alert in load_alerts()
            if alert.name in alerts
        }
    except httpx.HTTPError:
        return {}


def _queries(alert: Alert) -> list[str]:
    section = _CONFIRM.search((alert.folder / "runbook.md").read_text())
    return _QUERY.findall(section[1]) if section else []


def stamp(record: Mapping[str, Any]) -> None:
    """Write into the head of each runbook when its drill last ran, and how long its alert took."""
    rows: Sequence[Mapping[str, Any]] = [*record["drills"], *record["repeats"]]
    for alert in load_alerts():
        seen = [
            (row["date"], seconds)
            for row in rows
            if row["name"] == alert.front_matter["drill"]
            and (seconds := _seconds(row, alert.name)) is not None
        ]
        last = max((date for date, _ in seen), default="never")
        typical = f"{median(seconds for _, seconds in seen):.0f}" if seen else "null"
        runbook = alert.folder / "runbook.md"
        text = runbook.read_text()
        told = re.sub(
            r"^last_drill: .*$", f"last_drill: {last}", text, count=1, flags=re.MULTILINE
        )
        told = re.sub(
            r"^ttd_p50_seconds: .*$",
            f"ttd_p50_seconds: {typical}",
            told,
            count=1,
            flags=re.MULTILINE,
        )
        if told != text:
            runbook.write_text(told)


def _seconds(row: Mapping[str, Any], alert: str) -> float | None:
    """From the break to the notification that the drill was for."""
    if alert in row["tickets"]:
        return float(row["tickets"][alert])
    if alert in row["expected"]:
        seconds: float | None = row["paged_seconds"].get(alert)
        return seconds
    return None
