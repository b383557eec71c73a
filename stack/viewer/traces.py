"""Traces on their way to the store: held until it is known whether they are kept.

Children of a span end, and are exported, before the span that carries the decision; a log line may
be read before or after both. So both wait here, in memory, for as long as a request can take.
"""

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry, Counter, Gauge

from stack.viewer.otlp import ReceivedSpan
from stack.viewer.store import TraceStore

DECISION_SECONDS = 30.0
"""The longest deadline is 15 s (calendar sync); exporters send every 5 s and may retry once."""
PENDING_BYTES = 32_000_000
"""1,600 spans a second of 600 bytes for 30 s; what is beyond goes oldest first, counted."""


@dataclass
class Signals:
    """What the viewer says about itself."""

    registry: CollectorRegistry = field(default_factory=CollectorRegistry)

    def __post_init__(self) -> None:
        self.received = Counter(
            "viewer_spans_received", "Spans that arrived.", registry=self.registry
        )
        self.kept = Counter("viewer_spans_kept", "Spans stored.", registry=self.registry)
        self.dropped = Counter(
            "viewer_spans_dropped", "Spans let go.", ["why"], registry=self.registry
        )
        self.refused = Counter(
            "viewer_requests_refused", "OTLP requests refused.", ["why"], registry=self.registry
        )
        self.lines = Counter(
            "viewer_log_lines_kept", "Log lines stored with a trace.", registry=self.registry
        )
        self.pending_traces = Gauge(
            "viewer_pending_traces", "Traces without a decision yet.", registry=self.registry
        )
        self.pending_bytes = Gauge(
            "viewer_pending_bytes", "Memory that they take.", registry=self.registry
        )
        self.store_bytes = Gauge(
            "viewer_store_bytes", "Size of the kept traces.", registry=self.registry
        )
        for why in ("not_kept", "memory"):
            self.dropped.labels(why)
        for why in ("not_otlp", "too_large", "media_type"):
            self.refused.labels(why)


@dataclass(slots=True)
class _Pending:
    since: float
    spans: list[ReceivedSpan] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    size_bytes: int = 0


class Traces:
    """The way in. now: seconds since the epoch, from one clock for all calls."""

    def __init__(
        self, store: TraceStore, signals: Signals, *, pending_bytes: int = PENDING_BYTES
    ) -> None:
        self._store = store
        self._signals = signals
        self._limit_bytes = pending_bytes
        self._pending: OrderedDict[str, _Pending] = OrderedDict()
        self._bytes = 0

    def take_spans(self, spans: Sequence[ReceivedSpan], now: float) -> None:
        self._signals.received.inc(len(spans))
        kept = self._store.kept({span.trace_id for span in spans})
        kept |= {span.trace_id for span in spans if span.decides}
        storing: list[ReceivedSpan] = [span for span in spans if span.trace_id in kept]
        for span in spans:
            if span.trace_id not in kept:
                pending = self._wait(span.trace_id, span.size_bytes, now)
                pending.spans.append(span)
        lines: list[tuple[str, str]] = []
        for trace_id in kept & self._pending.keys():
            pending = self._take(trace_id)
            storing += pending.spans
            lines += [(trace_id, line) for line in pending.lines]
        self._keep(storing, lines, now)
        self._bound()

    def take_lines(self, lines: Iterable[tuple[str, str]], now: float) -> None:
        """Take (trace id, log line) pairs."""
        lines = list(lines)
        kept = self._store.kept({trace_id for trace_id, _ in lines})
        for trace_id, line in lines:
            if trace_id not in kept:
                self._wait(trace_id, len(line) + 100, now).lines.append(line)
        self._keep([], [item for item in lines if item[0] in kept], now)
        self._bound()

    def sweep(self, now: float) -> None:
        """Give up on traces nobody decided to keep, and let the store forget."""
        while self._pending:
            trace_id, oldest = next(iter(self._pending.items()))
            if now - oldest.since < DECISION_SECONDS:
                break
            self._drop(trace_id, "not_kept")
        self._store.sweep(now)
        self._signals.store_bytes.set(self._store.size_bytes())
        self._bound()

    def _wait(self, trace_id: str, size_bytes: int, now: float) -> _Pending:
        pending = self._pending.setdefault(trace_id, _Pending(now))
        pending.size_bytes += size_bytes
        self._bytes += size_bytes
        return pending

    def _take(self, trace_id: str) -> _Pending:
        pending = self._pending.pop(trace_id)
        self._bytes -= pending.size_bytes
        return pending

    def _drop(self, trace_id: str, why: str) -> None:
        self._signals.dropped.labels(why).inc(len(self._take(trace_id).spans))

    def _keep(
        self, spans: Sequence[ReceivedSpan], lines: Sequence[tuple[str, str]], now: float
    ) -> None:
        if spans or lines:
            self._store.add(spans, lines, now)
            self._signals.kept.inc(len(spans))
            self._signals.lines.inc(len(lines))

    def _bound(self) -> None:
        while self._bytes > self._limit_bytes:
            self._drop(next(iter(self._pending)), "memory")
        self._signals.pending_traces.set(len(self._pending))
        self._signals.pending_bytes.set(self._bytes)
