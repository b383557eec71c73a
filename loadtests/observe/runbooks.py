"""What a drill proves of the runbooks: their first query has data during the fault."""

import re
from collections.abc import Sequence

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
