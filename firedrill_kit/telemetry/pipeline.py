"""From a span that ends to the receiver: the three ways, of which a process has one.

own       spans of `spans.py`, bytes in the queue
joined    spans of the provider that an application has set, encoded in the thread that sends
official  the SDK from end to end, for the oracle
"""

from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanLimits, TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from prometheus_client import Counter, Gauge
from structlog.typing import FilteringBoundLogger

from firedrill_kit.telemetry import otlp
from firedrill_kit.telemetry.export import Exporter, Joined, SpanQueue, Tap
from firedrill_kit.telemetry.otlp import ATTRIBUTE_LENGTH_MAX, Encoder
from firedrill_kit.telemetry.provider import RecordingProvider
from firedrill_kit.telemetry.redaction import Policy


class Queue(Protocol):
    """Spans on their way out: `SpanQueue`, or the SDK's."""

    def force_flush(self, timeout_millis: int = ...) -> bool: ...
    def stop(self, timeout_seconds: float) -> bool: ...


@dataclass(kw_only=True)
class Pipeline:
    """endpoint: full address of the receiver; empty, no span leaves. The rest: as of `start_tracing`."""

    resource: Resource
    endpoint: str
    timeout_seconds: float
    capacity: int
    spans: Counter
    queued: Gauge
    capacity_gauge: Gauge
    clean: Policy
    log: FilteringBoundLogger | None
    tap: Tap = field(default_factory=Tap)

    def own(self) -> tuple[RecordingProvider, Queue | None]:
        queue: SpanQueue[tuple[bytes, bytes]] | None = None
        if self.endpoint:
            around, _ = otlp.envelope(self.resource, InstrumentationScope(""))
            queue = SpanQueue(partial(otlp.request, around), self._exporter(), **self._account())
        provider = RecordingProvider(
            resource=self.resource,
            limits=_limits(),
            encoder=Encoder(self.clean),
            queue=queue,
            tap=self.tap,
        )
        return provider, queue

    def joined(self, provider: TracerProvider) -> tuple[TracerProvider, Queue | None]:
        queue: SpanQueue[ReadableSpan] | None = None
        provider.add_span_processor(self.tap)
        if self.endpoint:
            queue = SpanQueue(self._encoded, self._exporter(), **self._account())
            provider.add_span_processor(Joined(queue))
        return provider, queue

    def official(self) -> tuple[TracerProvider, Queue | None]:
        provider = TracerProvider(
            sampler=ALWAYS_ON,
            resource=self.resource,
            span_limits=_limits(),
            # Its shutdown at exit waits 30 s for a dead collector; `Batches.stop` does not.
            shutdown_on_exit=False,
        )
        provider.add_span_processor(self.tap)
        if not self.endpoint:
            return provider, None
        from firedrill_kit.telemetry import contrib  # noqa: PLC0415 - 0.2 s that only the oracle needs

        exporter = contrib.CountedExporter(self._exporter(), clean=self.clean, spans=self.spans)
        batches = contrib.Batches(
            exporter, capacity=self.capacity, capacity_gauge=self.capacity_gauge
        )
        provider.add_span_processor(batches.processor)
        return provider, batches

    def _exporter(self) -> Exporter:
        return Exporter(endpoint=self.endpoint, timeout=self.timeout_seconds)

    def _encoded(self, batch: list[ReadableSpan]) -> bytes:
        encoded: bytes = encode_spans([self.clean(span) for span in batch]).SerializeToString()
        return encoded

    def _account(self) -> dict[str, Any]:
        return {
            "capacity": self.capacity,
            "spans": self.spans,
            "queued": self.queued,
            "capacity_gauge": self.capacity_gauge,
            "log": self.log,
        }


def _limits() -> SpanLimits:
    return SpanLimits(
        max_attribute_length=ATTRIBUTE_LENGTH_MAX, max_span_attribute_length=ATTRIBUTE_LENGTH_MAX
    )
