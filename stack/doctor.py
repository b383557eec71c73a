"""Walks the chain from the service to the pager and says for each hop whether it is alive.

Each hop is asked by itself, so a dead one does not hide the next; its line says what a person
would look at first. The last hop sends a synthetic alert, which the routing keeps from paging.
"""

import http.client
import json
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import httpx

from stack.prober.canary import canary_span
from stack.readiness import get, get_json
from stack.settings import Settings

FRESH_SECONDS = 20
"""A sample or a rule evaluation older than this is stale: four intervals of 5 s."""
ANSWER_SECONDS = 5.0
ROUND_TRIP_SECONDS = 15.0
"""For a span to be readable and an alert to arrive; both take under 2 s when all is well."""


SETTLE_SECONDS = 45.0
"""After a start, until the first requests are counted and Watchdog has arrived; 20 s measured."""


@dataclass(frozen=True)
class Hop:
    name: str
    problem: str
    """Empty: alive."""


def examine(
    settings: Settings, *, settled_at: float, has_collector: bool, has_cache: bool
) -> list[Hop]:
    """Every hop, in the order a signal travels.

    settled_at: seconds since the epoch; until then a hop that seems dead is asked again, for what
    has just been started has not sent anything yet.
    """
    hops: tuple[tuple[str, Callable[[Settings], str]], ...] = (
        ("service", _service),
        *((("cache", _cache),) if has_cache else ()),
        *((("collector", _collector),) if has_collector else ()),
        ("trace receiver", _traces),
        ("prometheus", _prometheus),
        ("rules", _rules),
        ("alertmanager", _alertmanager),
        ("pager", _pager),
    )
    return [Hop(name, _settled(check, settings, settled_at)) for name, check in hops]


def _settled(check: Callable[[Settings], str], settings: Settings, settled_at: float) -> str:
    while (problem := check(settings)) and time.time() < settled_at:
        time.sleep(1)
    return problem


def _service(settings: Settings) -> str:
    if not settings.service.is_demo:
        return _any_service(settings)
    for index in range(settings.replicas):
        internal = settings.ports["service_internal"] + index
        public = settings.ports["service"] + index
        if get(internal, "/livez") is None:
            return f"replica {index + 1} is down or its loop is blocked: port {internal}, /livez"
        if get(internal, "/readyz") is None:
            return f"replica {index + 1} is not ready: curl 127.0.0.1:{internal}/readyz says why"
        if get(public, "/openapi.json") is None:
            return f"replica {index + 1} answers nobody on port {public}"
    return ""


def _any_service(settings: Settings) -> str:
    """Any answer will do: what is healthy for this service, nobody has said."""
    config = settings.service.config
    unrelated = config.load.unrelated or ""
    path = config.route(unrelated).path if unrelated.startswith("GET ") else "/"
    for address in settings.service_urls_for_others:
        try:
            httpx.get(f"{address}{path}", timeout=ANSWER_SECONDS, trust_env=False)
        except httpx.HTTPError as error:
            return f"{address}{path} gives no answer: {type(error).__name__}"
    return ""


def _cache(settings: Settings) -> str:
    """From the replicas' own mouth: what they can reach and use, not what runs."""
    for index in range(settings.replicas):
        internal = settings.ports["service_internal"] + index
        exposition = get(internal, "/metrics") or b""
        if b"\ncache_gate_closed 0.0\n" not in exposition:
            return (
                f"replica {index + 1} does not use the one on port {settings.ports['cache']}:"
                f" see cache_errors_total on port {internal}"
            )
    return ""


def _collector(settings: Settings) -> str:
    port = settings.ports["collector_health"]
    if get(port, "/") is None:
        return f"not healthy on port {port}: spans and log lines wait where they are made"
    failing = _query(
        settings,
        "max by (exporter) (otelcol_exporter_queue_size) > 0"
        " unless on (exporter) sum by (exporter) (rate(otelcol_exporter_sent_spans_total[1m])"
        " or rate(otelcol_exporter_sent_log_records_total[1m])) > 0",
    )
    if failing:
        names = ", ".join(sorted(series["metric"]["exporter"] for series in failing))
        return f"nothing leaves the queue of {names}: see {settings.logs / 'collector.log'}"
    return ""


def _traces(settings: Settings) -> str:
    trace_id = secrets.token_hex(16)
    span = canary_span(trace_id, time.time())
    otlp, viewer = settings.ports["otlp"], settings.ports["viewer"]
    if _post(otlp, "/v1/traces", span, "application/x-protobuf") != 200:
        return f"port {otlp} takes no spans"
    if not _within(lambda: get(viewer, f"/api/traces/{trace_id}") is not None):
        return f"a span sent to port {otlp} cannot be read on port {viewer}"
    return ""


def _prometheus(settings: Settings) -> str:
    if get(settings.ports["prometheus"], "/-/ready") is None:
        return f"not ready on port {settings.ports['prometheus']}"
    series = 'up{job="service"}'
    ups = _query(settings, f"{series} == 1 and time() - timestamp({series}) < {FRESH_SECONDS}")
    up, expected = len(ups), len(settings.service_targets)
    if up < expected:
        return f"scrapes {up} of {expected} workers: see /targets"
    if not settings.service.config.probe.routes:
        return ""
    if not _query(settings, "sum(increase(http_server_request_duration_seconds_count[1m])) > 0"):
        return "no request is counted although the prober sends some: see the prober's metrics"
    return ""


def _rules(settings: Settings) -> str:
    answer = get_json(settings.ports["prometheus"], "/api/v1/rules")
    if not isinstance(answer, dict):
        return "Prometheus does not say its rules"
    groups = answer["data"]["groups"]
    rules = [(group["name"], rule) for group in groups for rule in group["rules"]]
    failing = [f"{name}/{rule['name']}" for name, rule in rules if rule["health"] == "err"]
    if failing:
        return f"rules fail: {', '.join(failing[:3])}"
    watchdog = [rule for _, rule in rules if rule["name"] == "Watchdog"]
    if not watchdog:
        return "the rule Watchdog is not loaded: see rule_files in prometheus.yml"
    if watchdog[0].get("state") != "firing":
        return "Watchdog does not fire, so no rule is evaluated"
    watchdog_series = 'ALERTS{alertname="Watchdog"}'
    if not _query(settings, f"time() - timestamp({watchdog_series}) < {FRESH_SECONDS}"):
        return f"rules were not evaluated for {FRESH_SECONDS} s"
    return ""


def _alertmanager(settings: Settings) -> str:
    port = settings.ports["alertmanager"]
    if get(port, "/-/ready") is None:
        return f"not ready on port {port}"
    alerts = get_json(port, "/api/v2/alerts?filter=alertname%3DWatchdog")
    if not alerts:
        return "Prometheus' Watchdog does not arrive: see alertmanagers in prometheus.yml"
    return ""


def _pager(settings: Settings) -> str:
    check = secrets.token_hex(8)
    labels = {
        "alertname": "FiredrillDoctor",
        "check": check,
        "env": "doctor",
        "severity": "none",
    }
    ends_at = datetime.now(UTC) + timedelta(seconds=60)
    alert = [{"labels": labels, "endsAt": ends_at.isoformat()}]
    port = settings.ports["alertmanager"]
    if _post(port, "/api/v2/alerts", json.dumps(alert).encode(), "application/json") != 200:
        return "Alertmanager takes no alert"

    def arrived() -> bool:
        pages = get_json(settings.ports["pager"], "/pages?receiver=doctor&limit=20")
        return check in json.dumps(pages)

    if not _within(arrived):
        return f"an alert given to Alertmanager does not arrive on port {settings.ports['pager']}"
    return ""


def _query(settings: Settings, query: str) -> list[Any]:
    path = f"/api/v1/query?query={quote(query)}"
    answer = get_json(settings.ports["prometheus"], path)
    return list(answer["data"]["result"]) if isinstance(answer, dict) else []


def _post(port: int, path: str, body: bytes, content_type: str) -> int:
    """The status of a POST on loopback; 0 when there is none."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("POST", path, body, {"Content-Type": content_type})
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return 0
    finally:
        connection.close()


def _within(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + ROUND_TRIP_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.2)
    return True
