"""Traces on their way to the store: held until it is known whether they are kept.

Children of a span end, and are exported, before the span that carries the decision; a log line may
be read before or after both. So both wait here, in memory, for as long as a request can take.
"""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum

from prometheus_client import CollectorRegistry, Counter, Gauge

from stack.viewer.otlp import REASONS, ReceivedSpan, Refused
from stack.viewer.store import TraceStore

DECISION_SECONDS = 30.0
"""The longest deadline is 15 s (calendar sync); exporters send every 5 s and may retry once."""
PENDING_BYTES = 32_000_000
"""1,600 spans a second of 600 bytes for 30 s; what is beyond goes oldest first, counted."""
GIVEN_UP = 100_000
"""Trace ids that are remembered as not kept: an hour of 30 requests a second, in 10 MB."""


class Whereabouts(Enum):
    """Why a trace is not among the kept ones, as the page shows it."""

    DROPPED = "not kept: there was no room for it while it waited to be decided"
    NOT_KEPT = "not kept: no failure, not slow, not in the sample"
    WAITING = "not here yet: something of it has arrived, its root has not; known within 30 s"
    UNKNOWN = (
        "nothing of it is here: not arrived yet, older than two hours, or not one of our traces"
    )


@dataclass
class Signals:
    """What the viewer says about itself."""

    registry: CollectorRegistry = field(default_factory=CollectorRegistry)

    def __post_init__(self) -> None:
        self.received = Counter(
            "viewer_spans_received", "Spans that arrived and can be kept.", registry=self.registry
        )
        self.kept = Counter("viewer_spans_kept", "Spans stored.", registry=self.registry)
        self.dropped = Counter(
            "viewer_spans_dropped", "Spans let go.", ["why"], registry=self.registry
        )
        self.refused = Counter(
            "viewer_requests_refused", "OTLP requests refused.", ["why"], registry=self.registry
        )
        self.spans_refused = Counter(
            "viewer_spans_refused",
            "Spans that cannot be kept, refused out of a batch whose rest is.",
            ["why"],
            registry=self.registry,
        )
        self.lines_refused = Counter(
            "viewer_log_lines_refused",
            "Log lines that cannot be kept, refused out of a batch whose rest is.",
            ["why"],
            registry=self.registry,
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
        for why in REASONS:
            self.spans_refused.labels(why)
            self.lines_refused.labels(why)


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
        self._given_up: OrderedDict[bytes, Whereabouts] = OrderedDict()

    def whereabouts(self, trace_id: str) -> Whereabouts:
        """Where a trace is that the store does not have."""
        if trace_id in self._pending:
            return Whereabouts.WAITING
        return self._given_up.get(bytes.fromhex(trace_id), Whereabouts.UNKNOWN)

    def take_spans(
        self, spans: Sequence[ReceivedSpan], now: float, refused: Refused | None = None
    ) -> None:
        """refused: how many of the same batch were not to be read, by reason."""
        _count(self._signals.spans_refused, refused)
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

    def take_lines(
        self, lines: Sequence[tuple[str, str]], now: float, refused: Refused | None = None
    ) -> None:
        """Take (trace id, log line) pairs. refused: as for spans."""
        _count(self._signals.lines_refused, refused)
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
            self._drop(trace_id, "not_kept", Whereabouts.NOT_KEPT)
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

    def _drop(self, trace_id: str, why: str, whereabouts: Whereabouts) -> None:
        self._signals.dropped.labels(why).inc(len(self._take(trace_id).spans))
        self._given_up[bytes.fromhex(trace_id)] = whereabouts
        if len(self._given_up) > GIVEN_UP:
            self._given_up.popitem(last=False)

    def _keep(
        self, spans: Sequence[ReceivedSpan], lines: Sequence[tuple[str, str]], now: float
    ) -> None:
        if spans or lines:
            self._store.add(spans, lines, now)
            self._signals.kept.inc(len(spans))
            self._signals.lines.inc(len(lines))

    def _bound(self) -> None:
        while self._bytes > self._limit_bytes:
            self._drop(next(iter(self._pending)), "memory", Whereabouts.DROPPED)
        self._signals.pending_traces.set(len(self._pending))
        self._signals.pending_bytes.set(self._bytes)


def _count(counter: Counter, refused: Refused | None) -> None:
    for why, count in (refused or {}).items():
        counter.labels(why).inc(count)
