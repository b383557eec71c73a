"""Signals as their users see them: what a counter grew by, the lines logged, the spans ended."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan
from prometheus_client import CollectorRegistry
from sqlalchemy import event

from firedrill_kit.metrics import REGISTRY
from firedrill_kit.telemetry.query_summary import summary_of
from firedrill_kit.telemetry.record import current
from firedrill_kit.telemetry.traces import Tracing

if TYPE_CHECKING:
    from sqlalchemy.engine.interfaces import DBAPIConnection
    from sqlalchemy.ext.asyncio import AsyncEngine
    from sqlalchemy.pool import ConnectionPoolEntry


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


@contextmanager
def watched_transactions(engine: "AsyncEngine") -> Iterator[list[str]]:
    """Yield the trace of each transaction begun within a span, as 32 hexadecimal digits.

    The service's own chores (the probe of the database, the count of grants) begin theirs outside of
    any span, every 5 and 15 s: `db_transactions_total` counts those too.
    """
    traces: list[str] = []

    def begun(_connection: object) -> None:
        context = trace.get_current_span().get_span_context()
        if context.is_valid:
            traces.append(f"{context.trace_id:032x}")

    event.listen(engine.sync_engine, "begin", begun)
    try:
        yield traces
    finally:
        event.remove(engine.sync_engine, "begin", begun)


PREPARE = "prepare"


@contextmanager
def watched_round_trips(engine: "AsyncEngine") -> Iterator[list[str]]:
    """Yield the summary of each exchange with the database that a request waits for, in order.

    Seen between asyncpg and its protocol: BEGIN, COMMIT and pings count, which SQLAlchemy's events do not
    tell apart. PREPARE is there once for each statement and connection.
    """
    trips: list[str] = []
    watched: list[tuple[Any, Any]] = []

    def checkout(
        connection: "DBAPIConnection", _entry: "ConnectionPoolEntry", _fairy: object
    ) -> None:
        driver = connection.driver_connection
        if not isinstance(driver._protocol, _WatchedProtocol):
            watched.append((driver, driver._protocol))
            driver._protocol = _WatchedProtocol(driver._protocol, trips)

    event.listen(engine.sync_engine, "checkout", checkout)
    try:
        yield trips
    finally:
        event.remove(engine.sync_engine, "checkout", checkout)
        for driver, protocol in watched:
            if driver._protocol is not None:
                driver._protocol = protocol


class _WatchedProtocol:
    def __init__(self, protocol: Any, trips: list[str]) -> None:
        self._protocol = protocol
        self._trips = trips

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._protocol, name)
        if name not in {"query", "prepare", "bind_execute", "bind_execute_many", "execute"}:
            return found

        def asked(*arguments: Any, **options: Any) -> Any:
            if current() is not None:
                first = next(iter((*arguments, *options.values())))
                self._trips.append(PREPARE if name == "prepare" else _summary(first))
            return found(*arguments, **options)

        return asked


def _summary(asked: Any) -> str:
    """Of a text, or of the state of a prepared statement."""
    return summary_of(asked if isinstance(asked, str) else asked.query).text.strip(";")
