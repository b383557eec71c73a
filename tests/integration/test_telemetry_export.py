"""Spans over real HTTP to a collector that works, fails, hangs and comes back."""

import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from firedrill_kit.telemetry.traces import Tracing, span
from tests.unit.telemetry.instruments import Instruments, restored, tracing_of


class Collector:
    """An OTLP receiver on loopback whose answer can be chosen."""

    def __init__(self, port: int = 0) -> None:
        self.mode = "fine"
        self.spans: list[Span] = []
        self.resources: set[tuple[str, str]] = set()
        self.mended = threading.Event()
        collector = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                if collector.mode == "hang":
                    collector.mended.wait(30)
                    self.close_connection = True
                    return
                if collector.mode == "garbage":
                    self.wfile.write(b"\x00\xff not http at all\r\n\r\n")
                    self.close_connection = True
                    return
                if collector.mode == "fine":
                    collector.receive(ExportTraceServiceRequest.FromString(body))
                self.send_response({"fine": 200, "busy": 503, "error": 500}[collector.mode])
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *arguments: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.server.daemon_threads = True
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.05,))
        self.thread.start()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}"

    def receive(self, request: ExportTraceServiceRequest) -> None:
        for resource_spans in request.resource_spans:
            self.resources |= {
                (item.key, item.value.string_value) for item in resource_spans.resource.attributes
            }
            for scope_spans in resource_spans.scope_spans:
                self.spans += scope_spans.spans

    def close(self) -> None:
        self.mended.set()
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    with restored():
        yield


@pytest.fixture
def collector() -> Iterator[Collector]:
    running = Collector()
    yield running
    running.close()


def leave_spans(count: int) -> None:
    for number in range(count):
        with span("calendar.sync", {"firedrill.calendar.events": number}):
            pass


def account(instruments: Instruments) -> dict[str, float]:
    results = ("exported", "failed", "dropped_queue_full")
    counts = {result: instruments.value("spans_total", result=result) for result in results}
    return {**counts, "queued": instruments.value("queued")}


def until(condition: Callable[[], bool]) -> None:
    while not condition():
        time.sleep(0.01)


def start(collector: Collector, instruments: Instruments) -> Tracing:
    return tracing_of(
        instruments, endpoint=collector.endpoint, queue_spans=500, timeout_seconds=0.5
    )


def test_every_span_arrives_with_the_names_of_the_process(collector: Collector) -> None:
    instruments = Instruments()
    tracing = start(collector, instruments)

    with span("calendar.sync") as active:
        active.set_attribute("url.query", "s3cr3t")
        leave_spans(300)

    assert tracing.stop(30)
    assert len(collector.spans) == 301
    assert account(instruments) == {
        "exported": 301,
        "failed": 0,
        "dropped_queue_full": 0,
        "queued": 0,
    }
    assert {
        ("service.name", "api"),
        ("service.version", "1.2.3"),
        ("service.instance.id", "127.0.0.1:8000"),
        ("deployment.environment.name", "test"),
    } <= collector.resources
    assert "s3cr3t" not in str(collector.spans)


@pytest.mark.parametrize("mode", ["error", "busy", "garbage", "hang"])
def test_with_a_collector_that_fails_each_span_is_counted_and_export_comes_back(
    collector: Collector, mode: str
) -> None:
    instruments = Instruments()
    tracing = start(collector, instruments)
    collector.mode = mode

    lost = lose_spans(instruments)
    collector.mode = "fine"
    collector.mended.set()

    leave_spans(10)
    until(lambda: len(collector.spans) == 10)
    assert tracing.stop(30)
    assert account(instruments) == {**lost, "exported": 10}


def test_with_a_collector_that_is_gone_each_span_is_counted_and_export_comes_back() -> None:
    gone = Collector()
    instruments = Instruments()
    tracing = start(gone, instruments)
    gone.close()

    lost = lose_spans(instruments)
    back = Collector(gone.server.server_port)

    leave_spans(10)
    until(lambda: len(back.spans) == 10)
    assert tracing.stop(30)
    assert account(instruments) == {**lost, "exported": 10}
    back.close()


def lose_spans(instruments: Instruments) -> dict[str, float]:
    """End more spans than the queue holds; return the account when none waits any longer."""
    leave_spans(900)
    until(lambda: account(instruments)["queued"] == 0)
    lost = account(instruments)
    assert lost["exported"] == 0
    assert lost["failed"] >= 500
    assert lost["failed"] + lost["dropped_queue_full"] == 900
    return lost


def test_stopping_does_not_wait_for_a_collector_that_hangs(collector: Collector) -> None:
    """The SDK's own shutdown takes 30 s here."""
    instruments = Instruments()
    tracing = tracing_of(
        instruments, endpoint=collector.endpoint, queue_spans=5000, timeout_seconds=20
    )
    collector.mode = "hang"
    leave_spans(1000)
    until(lambda: account(instruments)["queued"] == 1000)

    complete = tracing.stop(0.1)

    assert not complete
    after = account(instruments)
    assert sum(after.values()) == 1000
    assert after["failed"] == 1000 - 256
