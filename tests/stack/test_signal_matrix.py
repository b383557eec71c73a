"""Each signal of each part, as it stands in the back ends: of our own stack, or of one elsewhere.

With MATRIX_SERVICE_URL, MATRIX_PROMETHEUS_URL, MATRIX_TRACES_URL and MATRIX_PROVIDER_URL set (all
four), the same questions go to that stack: the containers', for one (`make compose-check`). What
answers at the third has the viewer's `/api/traces/<trace_id>`. MATRIX_LOGS is the directory of that
stack's log files, where this machine has it: without it, the one test that writes there is skipped.
"""

import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from loadtests.observe import exemplars, traces
from stack.programs import CACHE, CACHE_EXPORTER, COLLECTOR, find_programs
from stack.prometheus import Prometheus
from stack.waiting import until

SYNC = "/api/v1/calendar/sync/auto"
CREDENTIALS = {"username": "user09@example.com", "password": "firedrill-demo-09"}

# part (job): metrics that each say something of it
METRICS = {
    "service": [
        "http_server_request_duration_seconds_count",
        "db_client_connection_max",
        "db_up == 1",
        "auth_tokens_accepted_total > 0",
        "log_records_total > 0",
        'telemetry_spans_total{result="exported"} > 0',
        "process_resident_memory_bytes",
    ],
    "provider": ["up == 1"],
    "prober": ['probe_requests_total{result="ok"} > 0'],
    "canary": ["telemetry_canary_last_success_timestamp_seconds"],
    "postgres": ["pg_up == 1", "pg_stat_activity_count", "pg_settings_max_connections"],
    "cache": ["redis_up == 1", "redis_memory_used_bytes > 0", "redis_memory_max_bytes > 0"],
    "prometheus": ["prometheus_tsdb_lowest_timestamp_seconds"],
    "alertmanager": ["alertmanager_notification_requests_failed_total"],
    "pager": ["up == 1"],
    "collector": [
        "otelcol_receiver_accepted_spans_total > 0",
        "otelcol_receiver_accepted_log_records_total > 0",
        "otelcol_exporter_sent_spans_total > 0",
        "otelcol_exporter_sent_log_records_total > 0",
        "otelcol_exporter_queue_capacity > 0",
        'traces_spanmetrics_calls_total{span_kind="SPAN_KIND_SERVER"} > 0',
        'traces_spanmetrics_latency_bucket{span_kind="SPAN_KIND_SERVER"} > 0',
        'traces_service_graph_request_total{connection_type="database"} > 0',
    ],
}
# part: the event of a line with a trace id, and the name of that trace's first span
LINES = {
    "service": ("request_finished", "GET /api/v1/settings"),
    "prober": ("canary_written", "canary"),
}
# Log files in every stack; natively Prometheus, Alertmanager, the exporter and the viewer have one as well.
LOG_FILES = {"service-1", "prober", "provider", "pager", "second-channel"}


@dataclass(frozen=True)
class Addresses:
    """logs: the directory of the log files; None where this machine does not have it."""

    service: str
    prometheus: str
    traces: str
    provider: str
    has_collector: bool
    logs: Path | None


@pytest.fixture(scope="session")
def addresses(request: pytest.FixtureRequest) -> Addresses:
    names = ("SERVICE", "PROMETHEUS", "TRACES", "PROVIDER")
    given = [os.environ.get(f"MATRIX_{name}_URL", "") for name in names]
    if all(given):
        service, prometheus, traces, provider = given
        logs = os.environ.get("MATRIX_LOGS")
        return Addresses(service, prometheus, traces, provider, True, Path(logs) if logs else None)
    assert not any(given), "set all four of MATRIX_*_URL, or none"
    stack = request.getfixturevalue("stack")
    return Addresses(
        stack.url("service"),
        stack.url("prometheus"),
        stack.url("viewer"),
        stack.url("provider"),
        has_collector=COLLECTOR in find_programs(),
        logs=stack.local / "logs",
    )


@pytest.fixture(scope="session")
def caller(addresses: Addresses) -> Iterator[httpx.Client]:
    """A demo user with a calendar grant, signed in as any client would."""
    url = f"{addresses.service}/api/v1/auth/token"
    token = httpx.post(url, data=CREDENTIALS, timeout=20).raise_for_status().json()["access_token"]
    headers = {"Authorization": f"Bearer {token}"}
    with httpx.Client(base_url=addresses.service, headers=headers, timeout=20) as client:
        yield client


def series(addresses: Addresses, query: str) -> list[tuple[dict[str, str], float]]:
    with Prometheus(addresses.prometheus) as prometheus:
        return prometheus.query(query)


def whole_trace(addresses: Addresses, trace_id: str) -> dict[str, Any] | None:
    """The trace once its SERVER span and its canonical log line are there."""
    with httpx.Client(timeout=20) as http:
        trace = traces.trace(http, addresses.traces, trace_id)
    return trace if trace and traces.is_whole(trace) else None


def trace_of(addresses: Addresses, answer: httpx.Response) -> dict[str, Any]:
    """The trace of a request, found by the request id that every answer carries."""
    trace_id = answer.json()["trace_id"]
    return until(lambda: whole_trace(addresses, trace_id), f"trace {trace_id}") or {}


def traced(caller: httpx.Client, method: str, path: str) -> tuple[httpx.Response, str]:
    """Send a request under a trace id of our own, low enough to be kept by any base ratio."""
    trace_id = f"{os.urandom(8).hex()}{1:016x}"
    headers = {"traceparent": f"00-{trace_id}-{os.urandom(8).hex()}-01"}
    return caller.request(method, path, headers=headers), trace_id


def edges(trace: dict[str, Any]) -> set[tuple[str, str]]:
    """(parent, child) of every span, by kind for SERVER and by name for the rest."""
    named = {
        span["span_id"]: "SERVER" if span["kind"] == "SERVER" else span["name"]
        for span in trace["spans"]
    }
    return {
        (named.get(span["parent_span_id"], ""), named[span["span_id"]]) for span in trace["spans"]
    }


def without_parent(trace: dict[str, Any]) -> set[str]:
    """Spans whose parent is in no span of the trace; of a request only the SERVER span may be one."""
    return {child for parent, child in edges(trace) if not parent}


def latest(addresses: Addresses, name: str) -> list[dict[str, Any]]:
    """The traces kept last whose first span has this name, with their lines and spans."""
    url = f"{addresses.traces}/api/traces"
    answer = httpx.get(url, params={"limit": 100}, timeout=20).raise_for_status()
    ids = [one["trace_id"] for one in answer.json()["traces"] if one["name"] == name][:20]
    return [httpx.get(f"{url}/{one}", timeout=20).raise_for_status().json() for one in ids]


@pytest.mark.parametrize(
    ("job", "query"), [(job, query) for job, queries in METRICS.items() for query in queries]
)
def test_each_part_has_its_metrics(
    addresses: Addresses, caller: httpx.Client, job: str, query: str
) -> None:
    if job == "collector" and not addresses.has_collector:
        pytest.skip("no collector, and Go to build it is not on this machine")
    if job == "cache" and not {CACHE, CACHE_EXPORTER} <= find_programs().keys():
        pytest.skip("neither Valkey nor Redis, or not its exporter, is on this machine")
    name, brace, rest = query.partition("{")
    if brace:
        labelled = f'{name}{{job="{job}",{rest}'
    else:
        name, space, rest = query.partition(" ")
        labelled = f'{name}{{job="{job}"}}{space}{rest}'

    until(lambda: series(addresses, labelled), labelled)


def test_a_profile_read_is_one_server_span_with_its_check_and_its_statement(
    addresses: Addresses, caller: httpx.Client
) -> None:
    answer, trace_id = traced(caller, "GET", "/api/v1/profile")

    assert answer.status_code == 200, answer.text
    trace = until(lambda: whole_trace(addresses, trace_id), "the trace") or {}
    assert {("SERVER", "auth.verify"), ("SERVER", "SELECT accounts profiles")} <= edges(trace)
    assert without_parent(trace) == {"SERVER"}
    assert [span["service"] for span in trace["spans"] if span["kind"] == "SERVER"] == ["api"]
    lines = [line for line in trace["logs"] if line["event"] == "request_finished"]
    assert [(line["http.response.status_code"], line["http.route"]) for line in lines] == [
        (200, "/api/v1/profile")
    ]


def test_a_sync_that_refreshes_leads_to_the_trace_of_the_refresh(
    addresses: Addresses, caller: httpx.Client
) -> None:
    refreshes = 'sum(oauth_refresh_total{outcome="success"})'
    httpx.post(f"{addresses.provider}/_expire", json={}, timeout=20).raise_for_status()
    before = series(addresses, refreshes)

    answer, trace_id = traced(caller, "POST", SYNC)

    assert answer.status_code == 200, answer.text
    trace = until(lambda: whole_trace(addresses, trace_id), "the trace") or {}
    pairs = edges(trace)
    assert ("SERVER", "calendar.sync") in pairs
    assert ("calendar.sync", "GET /calendar/v3/calendars/primary/events") in pairs
    assert ("calendar.sync", "SELECT oauth_grants") in pairs
    until(
        lambda: series(addresses, refreshes)[0][1] > (before[0][1] if before else 0),
        "one refresh more in the counter",
    )

    def linked() -> bool:
        """Whether a trace of a refresh names the sync as what waited for it."""
        return any(
            trace_id == link["trace_id"]
            for refresh in latest(addresses, "oauth.refresh")
            for span in refresh["spans"]
            for link in span["links"]
        )

    until(linked, "the trace of the refresh, linked to the sync")


def test_a_422_is_a_metric_by_field_a_span_event_and_a_log_line(
    addresses: Addresses, caller: httpx.Client
) -> None:
    answer = caller.put("/api/v1/profile", json={"display_name": 7})

    assert answer.status_code == 422
    problem = answer.json()
    trace = trace_of(addresses, answer)
    pairs = edges(trace)
    assert ("SERVER", "auth.verify") in pairs
    assert not {child for _, child in pairs if child.startswith(("INSERT", "UPDATE"))}
    assert without_parent(trace) == {"SERVER"}
    server = next(span for span in trace["spans"] if span["kind"] == "SERVER")
    events = [
        event for event in server["events"] if event["name"] == "firedrill.validation_failed"
    ]
    assert [event["attributes"]["firedrill.validation.field"] for event in events] == [
        "body.display_name"
    ]
    assert server["status"] == "UNSET"
    lines = [line for line in trace["logs"] if line["event"] == "request_finished"]
    assert [line["firedrill.failure.code"] for line in lines] == [problem["code"]]
    field = 'http_request_validation_errors_total{field="body.display_name"} > 0'
    until(lambda: series(addresses, field), "the field in the counter")


def test_a_503_is_a_metric_by_code_an_error_span_and_a_log_line(
    addresses: Addresses, caller: httpx.Client
) -> None:
    """A provider that closes each connection is a 502 until the breaker opens, then a 503."""
    control = f"{addresses.provider}/_control"
    broken = {"calendar": {"mode": "close"}}
    httpx.post(control, json=broken, timeout=20).raise_for_status()

    def unavailable() -> httpx.Response | None:
        answer = caller.post(SYNC)
        return answer if answer.status_code == 503 else None

    try:
        answer = until(unavailable, "an open breaker")
    finally:
        httpx.post(control, json={"reset": True}, timeout=20).raise_for_status()

    assert answer is not None
    problem = answer.json()
    trace = trace_of(addresses, answer)
    assert edges(trace) >= {
        ("SERVER", "auth.verify"),
        ("SERVER", "calendar.sync"),
        ("calendar.sync", "SELECT oauth_grants"),
    }
    assert without_parent(trace) == {"SERVER"}
    sync = next(span for span in trace["spans"] if span["name"] == "calendar.sync")
    assert [event["name"] for event in sync["events"]] == ["firedrill.breaker_open"]
    server = next(span for span in trace["spans"] if span["kind"] == "SERVER")
    assert (server["status"], server["attributes"]["error.type"]) == ("ERROR", problem["code"])
    lines = [line for line in trace["logs"] if line["event"] == "request_finished"]
    assert [line["firedrill.failure.code"] for line in lines] == [problem["code"]]
    counted = f'app_failures_total{{code="{problem["code"]}",http_route="{SYNC}"}} > 0'
    until(lambda: series(addresses, counted), "the code in the counter")

    def works() -> bool:
        """Four in a row: each replica has a breaker of its own."""
        return all(caller.post(SYNC).status_code == 200 for _ in range(4))

    until(works, "a provider that works again")


@pytest.mark.parametrize("part", LINES)
def test_the_lines_of_each_part_are_found_by_their_trace(
    addresses: Addresses, caller: httpx.Client, part: str
) -> None:
    event, name = LINES[part]
    traced(caller, "GET", "/api/v1/settings")

    def lines() -> list[dict[str, Any]]:
        found = latest(addresses, name)
        return [line for trace in found for line in trace["logs"] if line["event"] == event]

    until(lines, f"a line {event}")


def test_the_log_file_of_each_part_is_read(addresses: Addresses, caller: httpx.Client) -> None:
    """A line of each file is found in one trace. It is written here, as the part appends its own: most of
    theirs belong to no trace, and the viewer keeps none of those (Loki does)."""
    if addresses.logs is None:
        pytest.skip("MATRIX_LOGS: the log files of that stack are not on this machine")
    _, trace_id = traced(caller, "GET", "/api/v1/settings")
    files = sorted(addresses.logs.glob("*.jsonl"))

    for file in files:
        line = {
            "timestamp": datetime.now(UTC).isoformat(),
            "level": "info",
            "event": "matrix_line",
            "firedrill.part": file.stem,
            "trace_id": trace_id,
        }
        with file.open("a") as log:
            log.write(json.dumps(line) + "\n")

    def seen() -> set[str]:
        trace = whole_trace(addresses, trace_id) or {"logs": []}
        return {line["firedrill.part"] for line in trace["logs"] if line["event"] == "matrix_line"}

    written = {file.stem for file in files}
    assert written >= LOG_FILES
    until(lambda: seen() == written, f"a line of each of {sorted(written)}")


def test_every_exemplar_leads_to_its_trace_and_its_log_line(
    addresses: Addresses, caller: httpx.Client
) -> None:
    """Also right after a scrape: what is young is waited for, what is missing is not."""
    for _ in range(5):
        traced(caller, "GET", "/api/v1/settings")
    follow = partial(exemplars.check, addresses.prometheus, addresses.traces)
    start = time.time() - 3600

    report = until(lambda: _with_exemplars(follow, start), "an exemplar")

    assert report is not None
    assert (report.without_trace, report.without_line) == ([], []), exemplars.lines(report)


def _with_exemplars(
    follow: Callable[..., exemplars.Report], start: float
) -> exemplars.Report | None:
    report = follow(start=start, end=time.time())
    return report if report.count else None
