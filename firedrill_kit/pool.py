"""A connection pool that says what it does: who waits, how long, who holds, who was refused.

Any QueuePool can be measured where it stands, sync or async: its class is exchanged for a subclass that
counts around the same behaviour. What changes behaviour has to be asked for: SQLAlchemy's pool turns a
dead database into a hang, because waiters are not woken when opening a connection fails, so each waits
its full timeout (measured: 8 s of 8 s); a limit of waiters and a gate that is closed for a moment after a
failed connect end that. https://docs.sqlalchemy.org/en/21/core/pooling.html
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache, lru_cache
from typing import Any
from weakref import WeakValueDictionary

from sqlalchemy import Engine, exc
from sqlalchemy.pool import ConnectionPoolEntry, QueuePool

from firedrill_kit import metrics
from firedrill_kit.driver_errors import PoolRefused, connect_failure, mark_connect_failure
from firedrill_kit.telemetry.guard import guard
from firedrill_kit.telemetry.record import KEEP_POOL_WAIT_SECONDS, RequestRecord, current
from firedrill_kit.telemetry.traces import past_span

SPAN_FROM_SECONDS = 0.005
"""A wait shorter than this leaves no span of its own: it is noise in every trace."""

_GUARD = guard("database")
_RETURNED = "firedrill.returned"


# Looking a child up by its labels costs three times what observing it does (measured).
_wait_of = lru_cache(maxsize=64)(metrics.POOL_WAIT_SECONDS.labels)
_use_of = lru_cache(maxsize=1024)(metrics.POOL_USE_SECONDS.labels)


@dataclass(slots=True, weakref_slot=True)
class PoolMeter:
    """What is known of a pool beyond SQLAlchemy: survives `recreate()`, which makes a new pool object.

    name: for the labels. waiters_max: callers that may wait, None for as many as come. gate_seconds: how
    long after a failed connect nobody else tries; 0 for no gate. unpinged_seconds: a connection that was in
    use within these, and is open as far as its driver knows, is used without the pool's ping.
    """

    name: str
    waiters_max: int | None = None
    gate_seconds: float = 0.0
    unpinged_seconds: float = 0.0
    clock: Callable[[], float] = time.perf_counter
    waiters: set[object] = field(default_factory=set)
    gate_until: float = float("-inf")
    gate_reason: str = ""
    held: dict[ConnectionPoolEntry, tuple[float, str]] = field(default_factory=dict)
    holders: set[str] = field(default_factory=set)
    """Routes that have held a connection: an average over time needs their zeros as well."""

    @property
    def waiting(self) -> int:
        """Callers that wait for a connection now."""
        return len(self.waiters)

    def admit(self, waiter: object) -> None:
        """Count a caller that begins to wait, until it is discarded. Raises PoolRefused for one too many."""
        if self.waiters_max is not None and self.waiting >= self.waiters_max:
            metrics.POOL_REFUSED.labels(self.name, "waiter_limit").inc()
            raise PoolRefused("waiter_limit")
        self.waiters.add(waiter)

    def note_wait(self, waited: float, record: RequestRecord | None) -> None:
        """Let every signal say how many seconds a request has waited."""
        exemplar = None
        if record is not None:
            record.pool_wait_seconds += waited
            if waited > KEEP_POOL_WAIT_SECONDS and record.trace_id:
                exemplar = {"trace_id": record.trace_id}
        _wait_of(self.name).observe(waited, exemplar)
        if waited >= SPAN_FROM_SECONDS:
            past_span(
                "db.pool.acquire",
                {"db.client.connection.pool.name": self.name},
                seconds=waited,
            )

    def close_gate(self, reason: str) -> None:
        self.gate_reason = reason
        self.gate_until = self.clock() + self.gate_seconds

    def oldest_checkouts(self) -> dict[tuple[str, ...], float]:
        """Return the age of each route's longest-held connection; called at scrape, any thread."""
        now = self.clock()
        oldest: dict[tuple[str, ...], float] = {(self.name, ""): 0.0}
        for since, route in tuple(self.held.values()):
            key = (self.name, route)
            oldest[key] = max(oldest.get(key, 0.0), now - since)
        return oldest

    def held_now(self) -> dict[tuple[str, str], float]:
        """Return how many connections each route holds that ever held one; called at scrape, any thread."""
        count = dict.fromkeys(((self.name, route) for route in ("", *tuple(self.holders))), 0.0)
        for _, route in tuple(self.held.values()):
            key = (self.name, route)
            count[key] = count.get(key, 0.0) + 1
        return count

    def top_holders(self, count: int = 3) -> list[dict[str, str | float]]:
        """Return who holds connections longest now: route and seconds."""
        now = self.clock()
        longest = sorted(self.held.values())[:count]
        return [{"route": route, "hold_s": round(now - since, 3)} for since, route in longest]


class MeasuredPool(QueuePool):
    """What `measure_pool` puts before a pool's own class.

    Overrides `_do_get`, `_do_return_conn` and `_invoke_creator`, which are SQLAlchemy's own extension
    points for its pool classes but not documented; `test_engines.py` fails if a release renames them.
    """

    meter: PoolMeter

    def recreate(self) -> "MeasuredPool":
        pool = super().recreate()
        assert isinstance(pool, MeasuredPool)  # noqa: S101 - narrows the declared type
        pool.meter = self.meter
        return pool

    @property  # type: ignore[override]
    def _invoke_creator(self) -> Callable[[ConnectionPoolEntry], Any]:
        create = self.__dict__["_invoke_creator"]

        def measured_create(entry: ConnectionPoolEntry) -> Any:
            started = self.meter.clock()
            try:
                return create(entry)
            except Exception as error:
                with _GUARD:
                    self._note_failed_connect(error, self.meter.clock() - started)
                raise
            finally:
                elapsed = self.meter.clock() - started
                metrics.POOL_CREATE_SECONDS.labels(self.meter.name).observe(elapsed)

        return measured_create

    @_invoke_creator.setter
    def _invoke_creator(self, create: Callable[[ConnectionPoolEntry], Any]) -> None:
        self.__dict__["_invoke_creator"] = create

    def _note_failed_connect(self, error: BaseException, seconds: float) -> None:
        failed = connect_failure(error)
        mark_connect_failure(error, failed)
        metrics.DB_CONNECT_FAILURES.labels(failed.reason).inc()
        past_span("db.connect", seconds=seconds, error_type=failed.reason)
        self.meter.close_gate(failed.reason)

    def _do_get(self) -> ConnectionPoolEntry:
        meter, record, waiter = self.meter, current(), object()
        started = meter.clock()
        is_empty = self._pool.empty()  # takes the queue's lock: once
        would_wait = is_empty and -1 < self._max_overflow <= self._overflow
        if is_empty and started < meter.gate_until:
            metrics.POOL_REFUSED.labels(meter.name, "connect_gate").inc()
            raise PoolRefused(meter.gate_reason)
        if would_wait:
            meter.admit(waiter)
        if record is not None:
            record.stage = "pool"
        try:
            entry = super()._do_get()
        except exc.TimeoutError:
            metrics.POOL_TIMEOUTS.labels(meter.name).inc()
            raise
        finally:
            meter.waiters.discard(waiter)
            with _GUARD:
                meter.note_wait(meter.clock() - started, record)
        route = record.route if record is not None else ""
        now = meter.clock()
        meter.holders.add(route)
        meter.held[entry] = (now, route)
        returned = entry.info.get(_RETURNED, float("-inf"))
        if now - returned < meter.unpinged_seconds and _is_open(entry):
            # SQLAlchemy's word for a connection that was just made; it pings any other.
            entry.fresh = True  # type: ignore[attr-defined]
        if record is not None:
            record.stage = "database"
        return entry

    def _do_return_conn(self, record: ConnectionPoolEntry) -> None:
        since, route = self.meter.held.pop(record, (None, ""))
        if since is not None:
            now = record.info[_RETURNED] = self.meter.clock()
            _use_of(self.meter.name, route).observe(now - since)
        super()._do_return_conn(record)


def _is_open(entry: ConnectionPoolEntry) -> bool:
    """Tell whether the driver has not seen the connection end; that takes no round trip."""
    connection = entry.driver_connection
    closed = getattr(connection, "is_closed", None) or getattr(connection, "closed", False)
    return not (closed() if callable(closed) else closed)


@cache
def _measured_class(pool_class: type[QueuePool]) -> type[QueuePool]:
    return type(f"Measured{pool_class.__name__}", (MeasuredPool, pool_class), {})


_engines: "WeakValueDictionary[str, Engine]" = WeakValueDictionary()
"""By the name of their pools; an engine that is measured under a taken name takes its place."""


def measure_pool(engine: Engine, meter: PoolMeter) -> bool:
    """Measure the pool of this (sync) engine from now on, whatever `dispose()` puts in its place.

    Returns False for a pool that has no queue (NullPool, StaticPool): nobody waits for it.
    """
    pool = engine.pool
    if not isinstance(pool, QueuePool):
        return False
    if not isinstance(pool, MeasuredPool):
        pool.__class__ = _measured_class(type(pool))  # type: ignore[arg-type]
    pool.meter = meter  # type: ignore[attr-defined]
    _engines[meter.name] = engine
    metrics.known(*metrics.of_pool(meter.name))
    _read_at_scrape(meter.name)
    return True


def pool_of(engine: Engine) -> MeasuredPool:
    """Return the measured pool of an engine; raises TypeError when it is not measured."""
    pool = engine.pool
    if not isinstance(pool, MeasuredPool):
        raise TypeError("the pool of this engine is not measured: call measure_pool first")
    return pool


def _read_at_scrape(name: str) -> None:
    """Read the gauges from the pool at every scrape, so that they cannot drift."""

    def reading(read: Callable[[MeasuredPool], float]) -> Callable[[], float]:
        def value() -> float:
            engine = _engines.get(name)
            return read(pool_of(engine)) if engine is not None else 0.0

        return value

    connections = metrics.POOL_CONNECTIONS
    connections.labels(name, "used").set_function(reading(lambda pool: pool.checkedout()))
    connections.labels(name, "idle").set_function(reading(lambda pool: pool.checkedin()))
    metrics.POOL_MAX.labels(name).set_function(reading(_most_connections))
    metrics.POOL_PENDING.labels(name).set_function(reading(lambda pool: pool.meter.waiting))


def _most_connections(pool: MeasuredPool) -> float:
    overflow = pool._max_overflow  # noqa: SLF001 - has no public reader
    return pool.size() + overflow if overflow >= 0 else float("inf")


def _meters() -> list[PoolMeter]:
    return [pool_of(engine).meter for engine in tuple(_engines.values())]


metrics.POOL_OLDEST_CHECKOUT_SECONDS.read = lambda: {
    key: age for meter in _meters() for key, age in meter.oldest_checkouts().items()
}
metrics.POOL_HELD.read = lambda: {
    key: count for meter in _meters() for key, count in meter.held_now().items()
}
