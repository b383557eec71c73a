"""Which traces the viewer keeps, for how long, and what it makes of them."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from stack.logrotation import copy_and_empty
from stack.viewer.logs import LogReader
from stack.viewer.otlp import NotOtlp, TooLarge, read_spans, unpack
from stack.viewer.store import KEEP_SECONDS, Search, TraceStore
from stack.viewer.traces import DECISION_SECONDS, Signals, Traces, Whereabouts
from tests.spans import OTHER, TRACE, attributes, span_request
from tests.spans import span as exported

NOW = 1_790_000_000.0


def span(number: int = 1, **given: Any) -> Span:
    """A span that began a number of seconds after NOW."""
    return exported(number, began=NOW + number, **given)


class Viewer:
    """The way a span goes, without HTTP."""

    def __init__(self, **options: int) -> None:
        self.signals = Signals()
        self.store = TraceStore(":memory:")
        self.traces = Traces(self.store, self.signals, **options)

    def send(self, *spans: Span, now: float = NOW) -> None:
        received, refused = read_spans(span_request(*spans))
        self.traces.take_spans(received, now, refused)

    def names(self, trace_id: str = TRACE) -> list[str]:
        trace = self.store.trace(trace_id)
        return [] if trace is None else [found["name"] for found in trace["spans"]]

    def count(self, name: str, **labels: str) -> float:
        return self.signals.registry.get_sample_value(name, labels) or 0


def test_children_that_come_before_the_marked_span_are_kept_with_it() -> None:
    viewer = Viewer()

    viewer.send(span(2), span(3))
    assert viewer.names() == []
    viewer.send(span(1, keep=True))

    assert viewer.names() == ["span 1", "span 2", "span 3"]


def test_spans_and_lines_that_come_after_the_decision_are_kept() -> None:
    viewer = Viewer()
    viewer.send(span(1, keep=True))

    viewer.send(span(2), span(5, trace_id=OTHER))
    viewer.traces.take_lines([(TRACE, '{"event": "late"}'), (OTHER, '{"event": "no"}')], NOW)

    trace = viewer.store.trace(TRACE)
    assert trace is not None
    assert viewer.names() == ["span 1", "span 2"]
    assert trace["logs"] == [{"event": "late"}]
    assert viewer.store.trace(OTHER) is None


def test_an_error_anywhere_keeps_the_trace() -> None:
    viewer = Viewer()

    viewer.send(span(1), span(2, error=True))

    assert viewer.names() == ["span 1", "span 2"]


def test_an_unmarked_trace_is_given_up_after_the_longest_request_and_counted() -> None:
    viewer = Viewer()
    viewer.send(span(1), span(2))

    viewer.traces.sweep(NOW + DECISION_SECONDS - 1)
    still_waiting = viewer.count("viewer_pending_traces")
    viewer.traces.sweep(NOW + DECISION_SECONDS)
    viewer.send(span(3, keep=True), now=NOW + DECISION_SECONDS)

    assert still_waiting == 1
    assert viewer.names() == ["span 3"]
    assert viewer.count("viewer_spans_dropped_total", why="not_kept") == 2
    assert viewer.count("viewer_spans_received_total") == 3
    assert viewer.count("viewer_spans_kept_total") == 1


def test_it_is_known_why_a_trace_is_not_here() -> None:
    viewer = Viewer(pending_bytes=2_000)

    unknown = viewer.traces.whereabouts(TRACE)
    viewer.send(span(1), span(2))
    waiting = viewer.traces.whereabouts(TRACE)
    viewer.traces.sweep(NOW + DECISION_SECONDS)
    not_kept = viewer.traces.whereabouts(TRACE)
    for number in range(1, 20):
        viewer.send(span(number, trace_id=f"{number:032x}"))
    dropped = viewer.traces.whereabouts(f"{1:032x}")

    assert [unknown, waiting, not_kept, dropped] == [
        Whereabouts.UNKNOWN,
        Whereabouts.WAITING,
        Whereabouts.NOT_KEPT,
        Whereabouts.DROPPED,
    ]


def test_pending_spans_take_no_more_memory_than_allowed() -> None:
    viewer = Viewer(pending_bytes=20_000)

    for number in range(1, 200):
        viewer.send(span(number, trace_id=f"{number:032x}"))

    assert viewer.count("viewer_pending_bytes") <= 20_000
    dropped = viewer.count("viewer_spans_dropped_total", why="memory")
    assert dropped + viewer.count("viewer_pending_traces") == 199
    viewer.send(span(500, trace_id=f"{199:032x}", keep=True))
    assert viewer.names(f"{199:032x}") == ["span 199", "span 500"]


def test_a_span_sent_twice_is_stored_once() -> None:
    viewer = Viewer()

    viewer.send(span(1, keep=True))
    viewer.send(span(1, keep=True))

    assert viewer.names() == ["span 1"]


def test_a_kept_trace_is_forgotten_after_two_hours() -> None:
    viewer = Viewer()
    viewer.send(span(1, keep=True))

    viewer.store.sweep(NOW + KEEP_SECONDS)
    assert viewer.names() == ["span 1"]
    viewer.store.sweep(NOW + KEEP_SECONDS + 1)

    assert viewer.names() == []


def test_a_full_store_forgets_the_oldest_traces() -> None:
    store = TraceStore(":memory:", size_bytes=100_000)
    for number in range(1, 400):
        trace_id = f"{number:032x}"
        spans, _ = read_spans(span_request(span(1, trace_id=trace_id, keep=True)))
        store.add(spans, [(trace_id, json.dumps({"n": "x" * 500}))], NOW + number)

    gone = store.sweep(NOW + 400)

    assert 0 < gone < 399
    assert store.size_bytes() <= 100_000
    assert store.trace(f"{1:032x}") is None
    assert store.trace(f"{399:032x}") is not None


def test_a_stored_span_shows_what_was_sent() -> None:
    viewer = Viewer()
    sent = span(1, keep=True, error=True)
    sent.attributes.extend(attributes({"odd": float("nan")}))
    event = sent.events.add(name="validation_failed", time_unix_nano=int(NOW * 1e9))
    event.attributes.extend(attributes({"field": "body.name"}))
    sent.links.add(trace_id=bytes.fromhex(OTHER), span_id=(7).to_bytes(8, "big"))

    viewer.send(sent)

    trace = viewer.store.trace(TRACE)
    assert trace is not None
    assert trace["spans"] == [
        {
            "span_id": "0000000000000001",
            "parent_span_id": None,
            "name": "span 1",
            "kind": "SERVER",
            "service": "api",
            "start": "2026-09-21T14:13:21.000000Z",
            "duration_ms": 1.5,
            "status": "ERROR",
            "attributes": {
                "http.route": "/api/v1/profile",
                "firedrill.trace.keep": True,
                "odd": "nan",
            },
            "events": [
                {
                    "name": "validation_failed",
                    "time": "2026-09-21T14:13:20.000000Z",
                    "attributes": {"field": "body.name"},
                }
            ],
            "links": [
                {
                    "trace_id": OTHER,
                    "span_id": "0000000000000007",
                    "attributes": {},
                    "kept": False,
                }
            ],
        }
    ]
    assert [found["http_route"] for found in viewer.store.latest(Search(limit=10))] == [
        "/api/v1/profile"
    ]


@pytest.mark.parametrize("body", [b"no protobuf", b"\xff" * 50, b"{}"])
def test_garbage_is_not_otlp(body: bytes) -> None:
    with pytest.raises(NotOtlp):
        read_spans(body)


def test_a_gzip_bomb_is_refused_before_it_is_unpacked() -> None:
    with pytest.raises(TooLarge):
        unpack(gzip.compress(b"\0" * 1_000_000), "gzip", limit_bytes=1000)


@pytest.mark.parametrize(
    ("body", "encoding"),
    [(b"plain", "gzip"), (gzip.compress(b"x" * 100, mtime=0)[:20], "gzip"), (b"x", "br")],
)
def test_a_body_that_does_not_unpack_is_not_otlp(body: bytes, encoding: str) -> None:
    with pytest.raises(NotOtlp):
        unpack(body, encoding, limit_bytes=1000)


def line(event: str, trace_id: object = TRACE) -> bytes:
    return json.dumps({"event": event, "trace_id": trace_id}).encode() + b"\n"


def events(reader: LogReader) -> list[str]:
    return [json.loads(text)["event"] for part in reader.new_lines() for _, text in part]


def test_each_line_of_a_trace_is_read_once_and_whole(tmp_path: Path) -> None:
    log, reader = tmp_path / "service-1.jsonl", LogReader(tmp_path)
    log.write_bytes(line("first") + line("second")[:-5])

    seen = [events(reader), events(reader)]
    with log.open("ab") as output:
        output.write(line("second")[-5:] + line("third"))

    assert [*seen, events(reader)] == [["first"], [], ["second", "third"]]


def test_lines_without_a_trace_are_passed_over(tmp_path: Path) -> None:
    reader = LogReader(tmp_path)
    odd = [
        b"Traceback\n",
        b'{"trace_id"\n',
        b'["trace_id"]\n',
        line("id", 7),
        line("id", "A" * 32),
    ]
    (tmp_path / "part.jsonl").write_bytes(b"".join(odd) + line("good"))
    (tmp_path / "part.log").write_bytes(line("other file"))

    assert events(reader) == ["good"]


def test_a_file_that_was_emptied_is_read_from_its_start(tmp_path: Path) -> None:
    log, reader = tmp_path / "service-1.jsonl", LogReader(tmp_path)
    log.write_bytes(line("before") * 3)
    events(reader)

    log.write_bytes(line("after"))

    assert events(reader) == ["after"]


def test_what_was_not_read_when_a_file_was_rotated_is_read_in_the_copy(tmp_path: Path) -> None:
    log, reader = tmp_path / "service-1.jsonl", LogReader(tmp_path)
    log.write_bytes(line("before") * 3)
    events(reader)
    with log.open("ab") as output:
        output.write(line("last"))

    copy_and_empty(log)
    with log.open("ab") as output:
        output.write(line("after"))

    assert events(reader) == ["last", "after"]
    assert events(reader) == []


def test_a_line_longer_than_a_read_does_not_stop_the_reader(tmp_path: Path) -> None:
    log, reader = tmp_path / "service-1.jsonl", LogReader(tmp_path)

    log.write_bytes(line("x" * 3_000_000) + line("next"))

    assert events(reader) == ["next"]
