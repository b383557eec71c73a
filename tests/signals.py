"""Signals as their users see them: what a counter grew by, the lines logged, the spans ended."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from opentelemetry.sdk.trace import ReadableSpan
from prometheus_client import CollectorRegistry

from service.metrics import REGISTRY
from service.telemetry.traces import Tracing


class Samples:
    """A scrape that later ones are compared with."""

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        self._registry = registry
        self._before = self._scrape()

    def grown(self, name: str, **labels: str) -> float:
        """Return by how much the sum of the matching samples has grown since."""
        return self._sum(self._scrape(), name, labels) - self._sum(self._before, name, labels)

    def _scrape(self) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
        return {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in self._registry.collect()
            for sample in family.samples
        }

    @staticmethod
    def _sum(
        samples: dict[tuple[str, frozenset[tuple[str, str]]], float],
        name: str,
        labels: dict[str, str],
    ) -> float:
        wanted = set(labels.items())
        return sum(
            value for (found, have), value in samples.items() if found == name and wanted <= have
        )


@dataclass
class Spans:
    """The spans that ended while it was watching."""

    ended: list[ReadableSpan] = field(default_factory=list)

    def of_trace(self, trace_id: str) -> list[ReadableSpan]:
        return [
            span
            for span in self.ended
            if span.context and f"{span.context.trace_id:032x}" == trace_id
        ]


@contextmanager
def watched_spans(tracing: Tracing) -> Iterator[Spans]:
    spans = Spans()
    tracing.tap.watchers.append(spans.ended.append)
    try:
        yield spans
    finally:
        tracing.tap.watchers.remove(spans.ended.append)
