"""What the pagers were sent."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import httpx

from stack.settings import Settings


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
    def is_of_a_page(self) -> bool:
        """Whether it opens, updates or closes a page."""
        return self.receiver in {"pager", "second_channel"}

    @property
    def is_page(self) -> bool:
        return self.rang and self.is_of_a_page


def notices(settings: Settings, http: httpx.Client) -> list[Notice]:
    """Every notification so far, oldest first; a pager that does not answer has none to show."""
    found: list[Notice] = []
    for port in ("pager", "second_channel"):
        try:
            answer = http.get(settings.url(port, "/pages")).raise_for_status()
        except httpx.HTTPError:
            continue
        found += [_notice(one) for one in answer.json()]
    return sorted(found, key=lambda notice: notice.at)


def pages(found: Sequence[Notice], *, since: float) -> list[Notice]:
    return [notice for notice in found if notice.is_page and notice.at >= since]


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


def open_groups(found: Sequence[Notice], *, since: float) -> set[str]:
    """Groups of pages that have rung and were not resolved since."""
    still: set[str] = set()
    for notice in found:
        if notice.at < since or not notice.is_of_a_page:
            continue
        (still.add if notice.status == "firing" else still.discard)(notice.group)
    return still
