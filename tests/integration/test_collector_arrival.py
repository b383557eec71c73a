"""What is sent to the collector arrives: spans, log lines, and the metrics made of them."""

import json
import secrets
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from stack.logrotation import copy_and_empty
from stack.waiting import until
from tests.integration.collector_process import (
    CONFIG,
    Collector,
    attributes,
    attributes_of,
    collector_path,
    running_collector,
)


@pytest.fixture(scope="module")
def collector(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Collector]:
    # Nothing here waits for a trace to be given up.
    with running_collector(tmp_path_factory.mktemp("collector"), DECISION_WAIT="2s") as running:
        yield running


def span(
    trace_id: bytes,
    *,
    parent: bytes = b"",
    kind: "Span.SpanKind.ValueType" = Span.SPAN_KIND_SERVER,
    failed: bool = False,
    **values: str | bool | int,
) -> Span:
    now = time.time_ns()
    return Span(
        trace_id=trace_id,
        span_id=secrets.token_bytes(8),
        parent_span_id=parent,
        name="GET /api/v1/profile",
        kind=kind,
        start_time_unix_nano=now - 30_000_000,
        end_time_unix_nano=now,
        attributes=attributes_of({key.replace("__", "."): one for key, one in values.items()}),
        status=Status(code=Status.STATUS_CODE_ERROR) if failed else None,
    )


def arrived(collector: Collector, trace_id: bytes) -> list[Span]:
    return [one for one in collector.back_end.spans if one.trace_id == trace_id]


def test_the_shipped_configuration_is_valid_with_nothing_set(tmp_path: Path) -> None:
    done = subprocess.run(
        [collector_path(), "validate", "--config", str(CONFIG)],
        env={"COLLECTOR_DATA": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, done.stderr) == (0, "")


def test_children_sent_before_the_marked_span_arrive_with_it(collector: Collector) -> None:
    trace_id = secrets.token_bytes(16)
    root = span(trace_id, firedrill__trace__keep=True, http__route="/api/v1/profile")
    child = span(trace_id, parent=root.span_id, kind=Span.SPAN_KIND_CLIENT)
    late = span(trace_id, parent=root.span_id, kind=Span.SPAN_KIND_CLIENT)

    for batch in ([child], [root], [late]):
        assert collector.send(batch) == 200

    until(lambda: len(arrived(collector, trace_id)) == 3, "the root and both children")
    assert {one.span_id for one in arrived(collector, trace_id)} == {
        root.span_id,
        child.span_id,
        late.span_id,
    }


def test_a_log_line_arrives_as_it_was_written_and_can_be_found(collector: Collector) -> None:
    trace_id, span_id = secrets.token_hex(16), secrets.token_hex(8)
    fields = {
        "timestamp": "2026-11-20T10:00:00.123456Z",
        "level": "warning",
        "event": "request_finished",
        "service.name": "api",
        "trace_id": trace_id,
        "span_id": span_id,
        "duration_ms": 12.375,
    }
    line = json.dumps(fields)

    with (collector.logs / "service-1.jsonl").open("a") as log:
        log.write(line + "\n")

    found = until(
        lambda: [one for one in collector.back_end.records if one.trace_id.hex() == trace_id],
        "the line",
    )
    record = found[0]
    assert record.body.string_value == line
    assert (record.span_id.hex(), record.severity_text) == (span_id, "warning")
    assert record.time_unix_nano == 1_795_168_800_123_456_000
    assert list(record.attributes) == []
    services = [attributes(one.resource.attributes) for one in collector.back_end.resource_logs]
    assert "api" in {one["service.name"] for one in services}


@pytest.mark.parametrize(
    ("file", "line", "expected"),
    [
        ("pager.jsonl", '{"event": "pager_started"}', ("pager", "local")),
        ("second-channel.jsonl", '{"event": "x"}', ("second-channel", "local")),
        ("provider.jsonl", "provider on http://127.0.0.1", ("provider", "local")),
        ("prometheus.jsonl.1", '{"service": 7, "msg": "x"}', ("prometheus", "local")),
        (
            "service-1.jsonl",
            '{"service.name": "api", "deployment.environment.name": "test"}',
            ("api", "test"),
        ),
    ],
)
def test_each_line_names_its_service_and_environment(
    collector: Collector, file: str, line: str, expected: tuple[str, str]
) -> None:
    """Its own word, else the file's: they are the labels that Loki finds lines by."""
    last = secrets.token_hex(8)
    marked = line[:-1] + f', "end": "{last}"}}' if line.endswith("}") else f"{line} {last}"
    with (collector.logs / file).open("a") as log:
        log.write(marked + "\n")

    def found() -> list[dict[str, str]]:
        return [
            attributes(one.resource.attributes)
            for one in collector.back_end.resource_logs
            for scope in one.scope_logs
            for record in scope.log_records
            if last in record.body.string_value
        ]

    (resource,) = until(found, "the line")
    service, environment = expected
    assert resource == {
        "service.name": service,
        "service.namespace": "firedrill",
        "deployment.environment.name": environment,
    }


def test_no_line_is_lost_when_its_file_is_rotated(collector: Collector) -> None:
    """A file is emptied before the collector has read its last lines: they are in the copy."""
    file = collector.logs / "rotated.jsonl"
    written: list[str] = []
    for _ in range(3):
        with file.open("a") as log:
            for _ in range(50):
                written.append(secrets.token_hex(16))
                log.write(json.dumps({"event": "x" * 200, "trace_id": written[-1]}) + "\n")
        # Once it is known by its first lines, what follows is emptied before it can have been read.
        until(lambda: written[-1] in trace_ids(collector), "the lines so far")
        with file.open("a") as log:
            written.append(secrets.token_hex(16))
            log.write(json.dumps({"event": "last", "trace_id": written[-1]}) + "\n")
        copy_and_empty(file)

    until(lambda: trace_ids(collector).issuperset(written), "every line")


def trace_ids(collector: Collector) -> set[str]:
    return {one.trace_id.hex() for one in collector.back_end.records}


def test_lines_that_are_not_json_arrive_too(collector: Collector) -> None:
    with (collector.logs / "odd.jsonl").open("a") as log:
        log.write("Traceback (most recent call last):\n")

    until(
        lambda: any(
            one.body.string_value.startswith("Traceback") for one in collector.back_end.records
        ),
        "the line",
    )


def test_every_span_is_counted_whether_its_trace_is_kept_or_not(collector: Collector) -> None:
    route = "/counted"
    labels = {"service_name": "api", "http_route": route, "http_response_status_code": "422"}
    marks = [True, False, False]

    for keep in marks:
        collector.send(
            [
                span(
                    secrets.token_bytes(16),
                    firedrill__trace__keep=keep,
                    http__route=route,
                    http__response__status_code=422,
                )
            ]
        )

    def counted() -> bool:
        return collector.span_metric("traces_spanmetrics_calls_total", **labels) == len(marks)

    until(counted, "each span in the counter")
    bound = {**labels, "le": "0.05"}
    assert collector.span_metric("traces_spanmetrics_latency_bucket", **bound) == 3


def test_metrics_of_spans_carry_no_exemplar_that_could_lead_nowhere(
    collector: Collector,
) -> None:
    collector.send([span(secrets.token_bytes(16), http__route="/exemplar")])

    until(lambda: "/exemplar" in collector.exposition("COLLECTOR_SPAN_METRICS"), "its series")
    assert "trace_id" not in collector.exposition("COLLECTOR_SPAN_METRICS")


def test_the_service_graph_has_the_edges_to_the_database_and_the_provider(
    collector: Collector,
) -> None:
    trace_id = secrets.token_bytes(16)
    root = span(trace_id, firedrill__trace__keep=True)
    client = Span.SPAN_KIND_CLIENT
    statement = span(
        trace_id,
        parent=root.span_id,
        kind=client,
        db__system__name="postgresql",
        db__namespace="x",
    )
    call = span(trace_id, parent=root.span_id, kind=client, server__address="provider")
    collector.send([root, statement, call])
    # The edge without a server's side is complete when its time is over.
    name = "traces_service_graph_request_total"

    def edges() -> bool:
        return all(
            collector.span_metric(name, client="api", server=to) for to in ("x", "provider")
        )

    until(edges, "both edges")


def test_each_back_end_gets_its_tenant_and_credentials(tmp_path: Path) -> None:
    with running_collector(
        tmp_path,
        TRACES_TENANT="traces",
        LOGS_TENANT="lines",
        TRACES_AUTHORIZATION="Bearer of-traces",
        LOGS_AUTHORIZATION="Basic bGluZXM=",
    ) as collector:
        collector.send([span(secrets.token_bytes(16), firedrill__trace__keep=True)])
        (collector.logs / "service-1.jsonl").write_text("a line\n")

        def seen() -> bool:
            return bool(collector.back_end.spans and collector.back_end.records)

        until(seen, "a span and a line")
        headers = collector.back_end.headers

    assert {
        (one["path"], one.get("X-Scope-Orgid"), one.get("Authorization")) for one in headers
    } == {
        ("/v1/traces", "traces", "Bearer of-traces"),
        ("/v1/logs", "lines", "Basic bGluZXM="),
    }


def test_the_collector_says_what_it_took_and_sent(collector: Collector) -> None:
    trace_id = secrets.token_bytes(16)
    before = collector.metric("otelcol_receiver_accepted_spans_total")
    collector.send([span(trace_id, firedrill__trace__keep=True)])
    until(lambda: arrived(collector, trace_id), "the span")

    until(
        lambda: collector.metric("otelcol_receiver_accepted_spans_total") == before + 1,
        "one span more",
    )
    assert collector.metric("otelcol_exporter_sent_spans_total") >= 1
    assert collector.metric("otelcol_exporter_queue_capacity", exporter="otlp_http/traces") > 0
