"""Every name that a whole stack emits: spans in the viewer, lines in the log files, series in Prometheus."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from firedrill_kit.telemetry.field_names import DATA_MODEL
from stack.prometheus import Prometheus
from stack.waiting import until
from tests.contracts.conventions import conventions, faults_of_labels
from tests.contracts.span_conventions import faults
from tests.stack.conftest import Stack

OUR_JOBS = "service|provider|prober|canary|pager"
FOREIGN_METRICS = ("process_", "python_", "scrape_", "up", "telemetry_self_")
"""Of client libraries and of Prometheus itself; nobody here chooses their labels."""
CONNECTOR_LABELS = frozenset(
    {"span_name", "span_kind", "status_code", "service_name", "client", "server"}
    | {"connection_type", "failed", "collector_instance_id", "otel_metric_overflow"}
)
"""Of the collector's span_metrics and service_graph, beside the dimensions that its file chooses."""


@pytest.fixture(scope="module")
def caused(stack: Stack) -> str:
    """Requests that end in each way a caller can see; returns the trace id of the last."""
    headers = {"Authorization": f"Bearer {stack.token('user09@example.com')}"}
    control = stack.url("provider", "/_control")
    with httpx.Client(base_url=stack.url("service"), headers=headers, timeout=20) as client:
        client.get("/api/v1/settings")
        client.put("/api/v1/profile", json={"display_name": 7})
        client.request("PATCH", "/api/v1/profile")
        client.get("/nowhere")
        client.get("/api/v1/profile", headers={"Authorization": "Bearer x"})
        httpx.post(stack.url("provider", "/_expire"), json={}, timeout=20)
        client.post("/api/v1/calendar/sync/auto")
        httpx.post(control, json={"calendar": {"mode": "close"}}, timeout=20)
        try:
            answer = client.post("/api/v1/calendar/sync/auto")
        finally:
            httpx.post(control, json={"reset": True}, timeout=20)
    trace_id: str = answer.json()["trace_id"]
    until(lambda: trace_of(stack, trace_id), "the trace of the last request")
    return trace_id


def trace_of(stack: Stack, trace_id: str) -> dict[str, Any] | None:
    answer = httpx.get(stack.url("viewer", f"/api/traces/{trace_id}"), timeout=20)
    return answer.json() if answer.status_code == httpx.codes.OK else None


def test_spans(stack: Stack, caused: str) -> None:
    latest = httpx.get(stack.url("viewer", "/api/traces?limit=200"), timeout=20).json()["traces"]
    traces = [trace_of(stack, trace_id) for trace_id in {caused, *(t["trace_id"] for t in latest)}]
    spans = [span for trace in traces if trace for span in trace["spans"]]

    found = {
        fault
        for span in spans
        for fault in faults(
            span["name"],
            span["kind"],
            span["attributes"],
            [(event["name"], event["attributes"]) for event in span["events"]],
        )
    }

    assert {"SERVER", "CLIENT", "INTERNAL"} <= {span["kind"] for span in spans}
    assert found == set()


def lines(stack: Stack) -> Iterator[dict[str, Any]]:
    for part in ("service-*", "prober", "provider", "pager", "second-channel", "viewer"):
        for file in (stack.local / "logs").glob(f"{part}.jsonl"):
            # The first line of some is for a person who started it by hand.
            said = file.read_text().splitlines()
            yield from (json.loads(line) for line in said if line.startswith("{"))


@pytest.mark.usefixtures("caused")
def test_lines(stack: Stack) -> None:
    found = {
        fault
        for line in lines(stack)
        for name, value in line.items()
        if name not in DATA_MODEL and value is not None
        for fault in conventions().faults_of(name, value)
    }

    assert "request_finished" in {line["event"] for line in lines(stack)}
    assert found == set()


@pytest.mark.usefixtures("caused")
def test_series(stack: Stack) -> None:
    series = [
        # What rules made of them is not emitted.
        *series_of(stack, f'{{job=~"{OUR_JOBS}",__name__!~".*:.*|ALERTS.*"}}'),
        *series_of(stack, '{__name__=~"traces_.*"}'),
    ]

    found = set()
    for labels in series:
        name = labels.pop("__name__")
        if name.startswith(FOREIGN_METRICS):
            continue
        base = name
        for suffix in ("_bucket", "_count", "_sum", "_created"):
            base = base.removesuffix(suffix)
        more = CONNECTOR_LABELS if name.startswith("traces_") else frozenset()
        found |= set(faults_of_labels(base, frozenset(labels) - more))

    assert found == set()


def series_of(stack: Stack, selector: str) -> list[dict[str, str]]:
    with Prometheus(stack.url("prometheus")) as prometheus:
        return prometheus.series(selector)
