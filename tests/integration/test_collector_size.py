"""No request to a back end is larger than what it takes, whatever was sent to the collector."""

import json
import secrets
from collections.abc import Iterator

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, ResourceLogs, ScopeLogs
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from stack.waiting import until
from tests.integration.collector_process import (
    Collector,
    attributes_of,
    running_collector,
)

BODY_BYTES_MAX = 65_536
VALUE_BYTES_MAX = 4_096


@pytest.fixture(scope="module")
def collector(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Collector]:
    with running_collector(tmp_path_factory.mktemp("collector")) as running:
        yield running
        assert running.back_end.refused == 0


def write_lines(collector: Collector, count: int, line_bytes: int) -> set[str]:
    """Lines as the service writes them, all at once; returns their trace ids."""
    ids = [secrets.token_hex(16) for _ in range(count)]
    with (collector.logs / "service-1.jsonl").open("a") as log:
        for one in ids:
            log.write(json.dumps({"trace_id": one, "event": "x" * line_bytes}) + "\n")
    return set(ids)


def arrived(collector: Collector) -> set[str]:
    return {one.trace_id.hex() for one in collector.back_end.records}


@pytest.mark.parametrize(("count", "line_bytes"), [(100, 60_000), (5_000, 200)])
def test_every_line_arrives_however_long_they_are(
    collector: Collector, count: int, line_bytes: int
) -> None:
    sent = write_lines(collector, count, line_bytes)

    until(lambda: sent <= arrived(collector), "every line")


def test_a_record_that_no_back_end_takes_is_cut_and_stops_no_other(collector: Collector) -> None:
    """Sent by OTLP: of a file's lines none is longer than 64 KiB."""
    end = secrets.token_hex(8)
    texts = ["first", "ä" * 3_000_000, "last"]
    records = [LogRecord(body=AnyValue(string_value=f"{end} {text}")) for text in texts]
    request = ExportLogsServiceRequest(
        resource_logs=[ResourceLogs(scope_logs=[ScopeLogs(log_records=records)])]
    )

    assert collector.post("/v1/logs", request.SerializeToString()) == 200
    sent = write_lines(collector, 10, 1_000)

    def bodies() -> list[str]:
        texts = [one.body.string_value for one in collector.back_end.records]
        return sorted(one for one in texts if one.startswith(end))

    until(lambda: len(bodies()) == 3 and sent <= arrived(collector), "every record")
    first, last, long = bodies()
    assert (first, last) == (f"{end} first", f"{end} last")
    assert BODY_BYTES_MAX - 2 < len(long.encode()) <= BODY_BYTES_MAX


@pytest.mark.parametrize(("count", "value_bytes"), [(1, 2_000_000), (400, 15_000), (1_000, 100)])
def test_every_span_arrives_however_long_its_attributes_are(
    collector: Collector, count: int, value_bytes: int
) -> None:
    text = "x" * value_bytes
    values: dict[str, str | bool | int] = {"firedrill.trace.keep": True}
    values |= {f"firedrill.note_{number}": text for number in range(3)}
    spans = [
        Span(
            trace_id=secrets.token_bytes(16),
            span_id=secrets.token_bytes(8),
            name=f"GET {text}",
            attributes=attributes_of(values),
            events=[Span.Event(name=text, attributes=attributes_of({"firedrill.note": text}))],
        )
        for _ in range(count)
    ]

    for start in range(0, count, 100):
        assert collector.send(spans[start : start + 100]) == 200

    sent = {one.span_id for one in spans}
    until(lambda: sent <= {one.span_id for one in collector.back_end.spans}, "every span")
    kept = [one for one in collector.back_end.spans if one.span_id in sent]
    lengths = {len(item.value.string_value) for one in kept for item in one.attributes}
    lengths |= {len(one.name) for one in kept}
    assert max(lengths) <= VALUE_BYTES_MAX
