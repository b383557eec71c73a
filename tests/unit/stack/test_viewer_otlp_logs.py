"""Log lines as a collector sends them to the viewer."""

import json

import pytest

from stack.viewer.otlp import NotOtlp
from stack.viewer.otlp_logs import read_lines
from tests.spans import TRACE, log_request, record


def test_a_line_of_a_trace_is_read_as_it_was_written() -> None:
    line = '{"event":  "x", "trace_id": "..."}'

    lines, refused = read_lines(
        log_request(record(line), record("no trace", ""), record("", "0" * 32))
    )

    assert lines == [(TRACE, line)]
    assert not refused


@pytest.mark.parametrize("text", ["Traceback", "7", '["list"]', '{"cut": '])
def test_what_is_no_json_object_becomes_one(text: str) -> None:
    (((_, line),), _) = read_lines(log_request(record(text)))

    assert json.loads(line) == {"event": text}


def test_what_is_no_protobuf_is_refused() -> None:
    with pytest.raises(NotOtlp):
        read_lines(b"\xff\xff\xff")
