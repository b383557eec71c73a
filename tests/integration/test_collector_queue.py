"""A back end that is away, and a collector that is killed: what is lost, and who counts it."""

import json
import secrets
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle, islice
from pathlib import Path

import httpx
import psutil
import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from stack.waiting import PATIENCE_SECONDS, until
from tests.integration.collector_process import (
    PROTOBUF,
    Collector,
    attributes_of,
    request_of,
    running_collector,
)

TRACES = "otlp_http/traces"
BATCH = 50
AWAY_SECONDS = 60
FLOOD_SECONDS = 10
FLOOD_SPANS_PER_SECOND = 20_000
MIB = 1 << 20


def kept_spans(count: int) -> list[Span]:
    now = time.time_ns()
    return [
        Span(
            trace_id=secrets.token_bytes(16),
            span_id=secrets.token_bytes(8),
            name="work",
            start_time_unix_nano=now,
            end_time_unix_nano=now,
            attributes=attributes_of({"firedrill.trace.keep": True}),
        )
        for _ in range(count)
    ]


def send_all(collector: Collector, spans: list[Span]) -> None:
    for start in range(0, len(spans), BATCH):
        assert collector.send(spans[start : start + BATCH]) == 200
    # Taking a span and queueing it are two steps.
    until(
        lambda: (
            collector.metric("otelcol_exporter_queue_size", exporter=TRACES)
            + collector.metric("otelcol_exporter_enqueue_failed_spans_total", exporter=TRACES)
            + collector.metric("otelcol_exporter_sent_spans_total", exporter=TRACES)
            >= len(spans)
        ),
        "every span queued, sent or refused",
    )


def times_arrived(collector: Collector) -> Counter[bytes]:
    return Counter(one.span_id for one in collector.back_end.spans)


def test_a_back_end_that_was_away_gets_each_span_that_the_queue_held(tmp_path: Path) -> None:
    spans = kept_spans(2000)
    with running_collector(tmp_path) as collector:
        collector.back_end.stop()
        send_all(collector, spans)
        # It is away for as long as a failed try takes.
        log = tmp_path / "collector.log"
        until(lambda: "Exporting failed" in log.read_text(), "an export that failed")
        assert collector.back_end.spans == []

        collector.back_end.start()

        until(lambda: len(times_arrived(collector)) == 2000, "every span")
        assert times_arrived(collector) == Counter(one.span_id for one in spans)
        failed = collector.metric("otelcol_exporter_enqueue_failed_spans_total", exporter=TRACES)
        assert failed == 0


@pytest.mark.slow
def test_a_back_end_away_for_a_minute_gets_each_span_of_that_minute(tmp_path: Path) -> None:
    """At 200 spans/s, which the queue can hold; sent as they come, not all before it goes."""
    spans: list[Span] = []
    with running_collector(tmp_path) as collector:
        collector.back_end.stop()
        started = time.monotonic()
        while (away := time.monotonic() - started) < AWAY_SECONDS:
            batch = kept_spans(BATCH)
            assert collector.send(batch) == 200
            spans += batch
            time.sleep(max(0.0, len(spans) / 200 - away))

        collector.back_end.start()

        until(lambda: len(times_arrived(collector)) == len(spans), "every span")
        assert times_arrived(collector) == Counter(one.span_id for one in spans)
        assert len(spans) > 30 * AWAY_SECONDS, "hardly anything was sent"


def test_what_is_beyond_the_queue_is_counted_to_the_span(tmp_path: Path) -> None:
    sent, size = 3000, 1000
    with running_collector(tmp_path, COLLECTOR_QUEUE_ITEMS=str(size)) as collector:
        collector.back_end.stop()
        send_all(collector, kept_spans(sent))
        lost = collector.metric("otelcol_exporter_enqueue_failed_spans_total", exporter=TRACES)

        collector.back_end.start()

        until(lambda: len(times_arrived(collector)) >= sent - lost, "all that was queued")
        until(
            lambda: collector.metric("otelcol_exporter_queue_size", exporter=TRACES) == 0,
            "an empty queue",
        )
        assert len(times_arrived(collector)) == sent - lost
        assert size - BATCH <= sent - lost < sent


def test_what_waited_survives_sigkill(tmp_path: Path) -> None:
    """Queued spans and the place in a log file, both on disk."""
    spans = kept_spans(500)
    with running_collector(tmp_path) as collector:
        collector.back_end.stop()
        send_all(collector, spans)
        log = collector.logs / "service-1.jsonl"
        with log.open("a") as file:
            file.writelines(json.dumps({"event": "before", "n": n}) + "\n" for n in range(100))
        until(
            lambda: collector.metric("otelcol_receiver_accepted_log_records_total") == 100,
            "the first lines taken",
        )

        collector.kill()
        with log.open("a") as file:
            file.writelines(json.dumps({"event": "after", "n": n}) + "\n" for n in range(100))
        collector.back_end.start()
        collector.start()

        until(lambda: len(times_arrived(collector)) == 500, "every span")

        def lines() -> Counter[str]:
            return Counter(one.body.string_value for one in collector.back_end.records)

        until(lambda: len(lines()) == 200, "every line")
        # At least once is the promise; the queue keeps it without sending any span twice.
        assert times_arrived(collector) == Counter(one.span_id for one in spans)


def test_a_flood_is_refused_and_the_collector_lives(tmp_path: Path) -> None:
    """With little memory allowed: refused and counted, and afterwards it takes spans again."""
    with running_collector(tmp_path, COLLECTOR_MEMORY_MIB="75") as collector:
        text = "x" * 2000
        statuses: set[int] = set()
        for _ in range(400):
            # Undecided spans: they stay in memory until they are given up.
            spans = kept_spans(200)
            for one in spans:
                del one.attributes[:]
                one.attributes.extend(attributes_of({"firedrill.note": text}))
            statuses.add(collector.send(spans))
            if 503 in statuses:
                break

        assert statuses == {200, 503}
        refused = collector.metric("otelcol_processor_refused_spans_total")
        assert refused or collector.metric("otelcol_receiver_refused_spans_total")
        until(lambda: collector.send(kept_spans(1)) == 200, "a collector that takes spans again")


@pytest.mark.slow
def test_memory_stays_within_the_limit_under_twenty_thousand_spans_a_second(
    tmp_path: Path,
) -> None:
    """The limit is of Go's heap. On top of it come what the process had at rest, what Go keeps back from
    the kernel, and what arrives between two looks of the limiter: a half of the limit is room for both.

    The spans have no mark, so they stay in memory, here until the limit is reached on any machine.
    """
    limit = 100 * MIB
    bodies = [flood_request() for _ in range(40)]
    with running_collector(
        tmp_path, COLLECTOR_MEMORY_MIB=str(limit // MIB), DECISION_WAIT="300s"
    ) as collector:
        assert collector.process is not None
        process = psutil.Process(collector.process.pid)
        at_rest = process.memory_info().rss
        peaks = [at_rest]
        over = threading.Event()

        def watch() -> None:
            while not over.wait(0.02):
                peaks.append(process.memory_info().rss)

        watcher = threading.Thread(target=watch)
        watcher.start()
        statuses = flood(collector, bodies)
        over.set()
        watcher.join()

        assert statuses.keys() == {200, 503}
        assert max(peaks) < 1.5 * limit + at_rest


def flood_request() -> bytes:
    spans = kept_spans(256)
    for one in spans:
        one.attributes[0].key, one.attributes[0].value.string_value = "firedrill.note", "x" * 100
    content: bytes = request_of(spans, service="api").SerializeToString()
    return content


def flood(collector: Collector, bodies: list[bytes]) -> Counter[int]:
    """Send them over and over, at FLOOD_SPANS_PER_SECOND or as near as this machine comes; the answers.

    Until FLOOD_SECONDS after the first refusal, which PATIENCE_SECONDS may pass without.
    """
    url = f"http://127.0.0.1:{collector.ports['OTLP']}/v1/traces"
    statuses: Counter[int] = Counter()
    started = time.monotonic()
    until_seconds = float(PATIENCE_SECONDS)
    with ThreadPoolExecutor(4) as pool, httpx.Client(timeout=60) as client:

        def post(body: bytes) -> int:
            return client.post(url, content=body, headers=PROTOBUF).status_code

        again = cycle(bodies)
        while (elapsed := time.monotonic() - started) < until_seconds:
            sent = statuses.total() * 256
            time.sleep(max(0.0, sent / FLOOD_SPANS_PER_SECOND - elapsed))
            statuses.update(pool.map(post, islice(again, 4)))
            if statuses[503] and until_seconds == PATIENCE_SECONDS:
                until_seconds = time.monotonic() - started + FLOOD_SECONDS
    return +statuses
