"""Where panels lead: other dashboards, runbooks, traces and logs of the same time range.

Every address is one that Grafana understands; the viewer maps them to pages of its own:

- `/d/<uid>?${__url_time_range}&var-env=…`: a dashboard. The same path in both.
- `${runbooks:raw}/runbooks/<AlertName or failure code>`: a runbook, the address that pages carry. Where they
  are served is a constant of the dashboard, which each kind of installation sets (deploy/dashboards.py).
- `/alerting/list`: firing alerts; the viewer's `/alerts`.
- `/explore?schemaVersion=1&panes=<JSON>`: Explore; the viewer's `/traces`, with the conditions of the query
  (`span.http.route`, `span.firedrill.failure.code`, `span.http.response.status_code`,
  `trace:duration`) as filters.
"""

import json
from urllib.parse import quote

PROMETHEUS_UID = "prometheus"
TEMPO_UID = "tempo"
LOKI_UID = "loki"
ALERTMANAGER_UID = "alertmanager"
"""Fixed in provisioning/datasources/, so that links work in every installation."""

SAME_RANGE = "${__url_time_range}"
SAME_SCOPE = "var-env=${env}&var-service=${service}"
ALERTS_URL = "/alerting/list"


def dashboard_url(uid: str, **variables: str) -> str:
    """Return the address of a dashboard with the range, env and service that are looked at now.

    variables: more of them, by name; a value may be a macro such as `${__field.labels.http_route}`.
    """
    more = "".join(f"&var-{name}={value}" for name, value in variables.items())
    return f"/d/{uid}?{SAME_RANGE}&{SAME_SCOPE}{more}"


def runbook_url(name: str) -> str:
    """Return the address of a runbook; name: an alert, a failure code, or a macro that gives one."""
    return f"${{runbooks:raw}}/runbooks/{name}"


def traces_url(condition: str) -> str:
    """Return Explore on the traces of the range; condition: TraceQL between the braces."""
    query: dict[str, object] = {
        "refId": "A",
        "datasource": {"type": "tempo", "uid": TEMPO_UID},
        "queryType": "traceql",
        "query": f"{{ {condition} }}",
    }
    return _explore(TEMPO_UID, query)


def logs_url(pipeline: str = "") -> str:
    """Return Explore on the service's log lines of the range; pipeline: LogQL on their fields."""
    expression = f'{{service_name=~"${{service}}"}} | json {pipeline}'.rstrip()
    query: dict[str, object] = {
        "refId": "A",
        "datasource": {"type": "loki", "uid": LOKI_UID},
        "expr": expression,
    }
    return _explore(LOKI_UID, query)


def _explore(datasource: str, query: dict[str, object]) -> str:
    pane = {
        "datasource": datasource,
        "queries": [query],
        "range": {"from": "${__from}", "to": "${__to}"},
    }
    packed = quote(json.dumps({"a": pane}, separators=(",", ":")), safe="")
    return f"/explore?schemaVersion=1&panes={_with_macros(packed)}"


def _with_macros(encoded: str) -> str:
    """Undo the encoding of macros: Grafana replaces them in the address as it is written."""
    parts = encoded.split(quote("${", safe=""))
    rebuilt = [parts[0]]
    for part in parts[1:]:
        macro, _, rest = part.partition(quote("}", safe=""))
        rebuilt.append(f"${{{macro}}}{rest}")
    return "".join(rebuilt)
