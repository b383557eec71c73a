"""What Alertmanager posts, as tests need it: complete payloads of version 4, changed where a test says so."""

from datetime import UTC, datetime
from typing import Any

LABELS = {
    "alertname": "DbPoolExhausted",
    "severity": "page",
    "kind": "cause",
    "domain": "database",
    "env": "test",
    "service": "api",
    "scope": "service",
}
GROUP_KEY = '{}/{severity="page"}:{env="test", scope="service", service="api"}'
GO_ZERO_TIME = "0001-01-01T00:00:00Z"


def rfc_3339(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).isoformat().replace("+00:00", "Z")


def alert(
    *,
    starts_at: float,
    ends_at: float | None = None,
    annotations: dict[str, str] | None = None,
    **labels: str,
) -> dict[str, Any]:
    """One alert, resolved when ends_at is given. Moments in seconds since 1970."""
    return {
        "status": "firing" if ends_at is None else "resolved",
        "labels": {**LABELS, **labels},
        "annotations": {"summary": "The pool is used up"} if annotations is None else annotations,
        "startsAt": rfc_3339(starts_at),
        "endsAt": GO_ZERO_TIME if ends_at is None else rfc_3339(ends_at),
        "generatorURL": "http://prometheus.test/graph",
        "fingerprint": "0011223344556677",
    }


def payload(*alerts: dict[str, Any], group_key: str = GROUP_KEY) -> dict[str, Any]:
    """One POST with these alerts."""
    firing = any(one["status"] == "firing" for one in alerts)
    return {
        "version": "4",
        "groupKey": group_key,
        "truncatedAlerts": 0,
        "status": "firing" if firing else "resolved",
        "receiver": "pager",
        "groupLabels": {},
        "commonLabels": {},
        "commonAnnotations": {},
        "externalURL": "http://alertmanager.test",
        "alerts": list(alerts),
    }


def watchdog(beat: float | str, *, ends_at: float | None = None) -> dict[str, Any]:
    """Watchdog as it arrives at the dead-man."""
    return payload(
        alert(
            starts_at=1000.0,
            ends_at=ends_at,
            annotations={"beat": str(beat), "runbook_url": "http://viewer.test/runbooks/Watchdog"},
            alertname="Watchdog",
            severity="none",
        ),
        group_key='{}/{alertname="Watchdog"}:{env="test"}',
    )
