"""Spans on their way out: a bounded queue, one thread, and an account that adds up.

The SDK's batch processor drops without a metric that can be pulled, hands back no result of an
export and takes 30 s to stop when the collector is dead (measured). Here every span that ends is
exported, failed, dropped or still queued, exactly; retrying is the exporter's, within its timeout.
"""

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, ClassVar, Generic, TypeVar

import structlog
from opentelemetry import context as otel_context
from opentelemetry.context import _SUPPRESS_INSTRUMENTATION_KEY
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
from prometheus_client import Counter, Gauge
from structlog.typing import FilteringBoundLogger

from firedrill_kit.telemetry.forks import after_fork
from firedrill_kit.telemetry.guard import guard

BATCH_SPANS_MAX = 256
"""Where spans are still to be encoded that takes 42 µs each and holds the interpreter: 11 ms at a time."""
DELAY_SECONDS = 1.0
LOSSES_REPORT_SECONDS = 10.0
"""Between two reports of lost spans, at least."""

Watcher = Callable[[ReadableSpan], None]

_GUARD = guard("traces")


Item = TypeVar("Item")


class Exporter(OTLPSpanExporter):
    """The SDK's exporter, with its retries, for requests that are bytes already."""

    def send(self, request: bytes) -> bool:
        """Return whether the receiver took it.

        Can go when the exporter takes bytes: its `_client` is private, and before 1.45 there is `_export`
        alone, which does not try again.
        """
        if self._shutdown:
            return False
        client = getattr(self, "_client", None)
        if client is not None:
            return bool(client.export(request).success)
        post: Callable[[bytes], Any] = getattr(self, "_export")  # noqa: B009 - newer ones lack it
        return bool(post(request).ok)


class SpanQueue(Generic[Item]):
    """The way of spans out of the process.

    encode: makes a request of a batch, in the thread. exporter: sends it. spans: counter by result
    (exported, failed, dropped_queue_full). queued, capacity_gauge: set here. log: where losses are reported.
    A full queue drops the newest: the first spans of an incident are the ones that explain it.
    """

    def __init__(
        self,
        encode: Callable[[list[Item]], bytes],
        exporter: Exporter,
        *,
        capacity: int,
        spans: Counter,
        queued: Gauge,
        capacity_gauge: Gauge,
        log: FilteringBoundLogger | None = None,
    ) -> None:
        self._encode = encode
        self._log: FilteringBoundLogger = log or structlog.get_logger()
        self._exporter = exporter
        self._capacity = capacity
        self._exported = spans.labels("exported")
        self._failed = spans.labels("failed")
        self._dropped = spans.labels("dropped_queue_full")
        queued.set_function(self.__len__)
        capacity_gauge.set(capacity)
        self._reported_at = float("-inf")
        self._start()
        after_fork(self._start)

    def _start(self) -> None:
        """Begin with nothing queued; what a forked process finds there, its parent exports."""
        self._queue: deque[Item] = deque()
        self._in_flight = 0
        self._losses = 0
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="span-export", daemon=True)
        self._thread.start()

    def __len__(self) -> int:
        """Spans that wait, the batch on its way included."""
        return len(self._queue) + self._in_flight

    def put(self, span: Item) -> None:
        """Queue the span; never waits."""
        if len(self._queue) + self._in_flight >= self._capacity or self._stopping.is_set():
            self._dropped.inc()
            self._losses += 1
            return
        self._queue.append(span)
        if len(self._queue) >= BATCH_SPANS_MAX and not self._wake.is_set():
            self._wake.set()

    def stop(self, timeout_seconds: float) -> bool:
        """Export what is queued, for at most this long; what is left then has failed.

        Returns whether everything was handed over.
        """
        self._stopping.set()
        self._wake.set()
        self._thread.join(timeout_seconds)
        complete = not self._thread.is_alive()
        # Ends a pause between attempts; an attempt that hangs ends with the process.
        with _GUARD:
            self._exporter.shutdown()  # type: ignore[no-untyped-call]
        while self._queue:
            try:
                self._queue.popleft()
            except IndexError:
                break
            self._failed.inc()
        return complete

    def force_flush(self, timeout_millis: int = 2000) -> bool:
        """Export what is queued now, for at most this long; returns whether nothing is left."""
        give_up = time.monotonic() + timeout_millis / 1000
        self._wake.set()
        while len(self) and time.monotonic() < give_up:
            time.sleep(0.01)
        return not len(self)

    def _run(self) -> None:
        # An instrumented `requests` would make a span of each export, which is then exported.
        otel_context.attach(otel_context.set_value(_SUPPRESS_INSTRUMENTATION_KEY, True))
        while True:
            self._wake.wait(DELAY_SECONDS)
            self._wake.clear()
            # Read after clearing: a stop that comes later wakes the next round.
            stopping = self._stopping.is_set()
            while batch := self._take():
                self._export(batch)
            self._report_losses()
            if stopping:
                return

    def _take(self) -> list[Item]:
        batch: list[Item] = []
        while len(batch) < BATCH_SPANS_MAX and self._queue:
            # Counted before it leaves the queue: the sum may be one too high, never too low.
            self._in_flight += 1
            try:
                batch.append(self._queue.popleft())
            except IndexError:
                self._in_flight -= 1
                break
        return batch

    def _export(self, batch: list[Item]) -> None:
        is_taken = False
        with _GUARD:
            is_taken = self._exporter.send(self._encode(batch))
        if is_taken:
            self._exported.inc(len(batch))
        else:
            self._failed.inc(len(batch))
            self._losses += len(batch)
        self._in_flight = 0

    def _report_losses(self) -> None:
        now = time.monotonic()
        if not self._losses or now - self._reported_at < LOSSES_REPORT_SECONDS:
            return
        lost, self._losses = self._losses, 0
        self._reported_at = now
        self._log.warning("telemetry_dropped", signal="spans", lost=lost)


class Tap(SpanProcessor):
    """Shows ended spans to watchers; there are none, except during a self-check or a test."""

    everywhere: ClassVar[list[Watcher]] = []
    """Watchers of every tap of the process."""

    def __init__(self) -> None:
        self.watchers: list[Watcher] = []

    def is_watched(self) -> bool:
        """Whether a span has to be made readable at all."""
        return bool(self.watchers or self.everywhere)

    def on_end(self, span: ReadableSpan) -> None:
        for watcher in (*self.watchers, *self.everywhere):
            watcher(span)


class Joined(SpanProcessor):
    """Queues the spans of a provider of the SDK."""

    def __init__(self, queue: SpanQueue[ReadableSpan]) -> None:
        self._queue = queue

    def on_end(self, span: ReadableSpan) -> None:
        self._queue.put(span)
