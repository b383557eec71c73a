"""Log lines as a collector sends them to the viewer."""

import json

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, ResourceLogs, ScopeLogs

from stack.viewer.otlp import NotOtlp
from stack.viewer.otlp_logs import read_lines

TRACE = "c" * 32


def request(*records: LogRecord) -> bytes:
    resource = ResourceLogs(scope_logs=[ScopeLogs(log_records=records)])
    content: bytes = ExportLogsServiceRequest(resource_logs=[resource]).SerializeToString()
    return content


def record(text: str, trace_id: str = TRACE) -> LogRecord:
    return LogRecord(body=AnyValue(string_value=text), trace_id=bytes.fromhex(trace_id))


def test_a_line_of_a_trace_is_read_as_it_was_written() -> None:
    line = '{"event":  "x", "trace_id": "..."}'

    assert read_lines(request(record(line), record("no trace", ""))) == [(TRACE, line)]


@pytest.mark.parametrize("text", ["Traceback", "7", '["list"]', '{"cut": '])
def test_what_is_no_json_object_becomes_one(text: str) -> None:
    ((_, line),) = read_lines(request(record(text)))

    assert json.loads(line) == {"event": text}


def test_what_is_no_protobuf_is_refused() -> None:
    with pytest.raises(NotOtlp):
        read_lines(b"\xff\xff\xff")
