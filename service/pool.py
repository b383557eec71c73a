"""A connection pool that says what it does: who waits, how long, who holds, who was refused.

SQLAlchemy's pool turns a dead database into a hang: when opening a connection fails, waiters are not
woken, so each waits its full timeout (measured: 8 s of 8 s). Hence a short timeout, a limit of waiters
and a gate that is closed for a moment after a failed connect.
https://docs.sqlalchemy.org/en/21/core/pooling.html
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import exc
from sqlalchemy.pool import AsyncAdaptedQueuePool, ConnectionPoolEntry

from firedrill_kit.telemetry.record import KEEP_POOL_WAIT_SECONDS, RequestRecord, current
from firedrill_kit.telemetry.traces import past_span
from service import metrics
from service.driver_errors import ConnectFailed, PoolRefused

SPAN_FROM_SECONDS = 0.005
"""A wait shorter than this leaves no span of its own: it is noise in every trace."""


@dataclass(slots=True)
class PoolMeter:
    """What the pool knows beyond SQLAlchemy: survives `recreate()`, which makes a new pool object."""

    waiters_max: int
    gate_seconds: float
    clock: Callable[[], float] = time.perf_counter
    waiting: int = 0
    gate_until: float = 0.0
    gate_reason: str = ""
    held: dict[ConnectionPoolEntry, tuple[float, str]] = field(default_factory=dict)

    def close_gate(self, reason: str) -> None:
        self.gate_reason = reason
        self.gate_until = self.clock() + self.gate_seconds

    def oldest_checkouts(self) -> dict[tuple[str, ...], float]:
        """Return the age of each route's longest-held connection; called at scrape, any thread."""
        now = self.clock()
        oldest: dict[tuple[str, ...], float] = {(metrics.POOL, ""): 0.0}
        for since, route in tuple(self.held.values()):
            key = (metrics.POOL, route)
            oldest[key] = max(oldest.get(key, 0.0), now - since)
        return oldest

    def top_holders(self, count: int = 3) -> list[dict[str, str | float]]:
        """Return who holds connections longest now: route and seconds."""
        now = self.clock()
        longest = sorted(self.held.values())[:count]
        return [{"route": route, "hold_s": round(now - since, 3)} for since, route in longest]


class MeasuredPool(AsyncAdaptedQueuePool):
    """The stock pool around which every checkout is counted, timed and bounded.

    Overrides `_do_get` and `_do_return_conn`, which are SQLAlchemy's own extension points for its
    pool classes but not documented; `test_pool.py` fails if a release renames them.
    """

    meter: PoolMeter

    def recreate(self) -> "MeasuredPool":
        pool = super().recreate()
        assert isinstance(pool, MeasuredPool)  # noqa: S101 - narrows the declared type
        pool.meter = self.meter
        return pool

    def _do_get(self) -> ConnectionPoolEntry:
        meter, record = self.meter, current()
        started = meter.clock()
        would_wait = self._pool.empty() and self._overflow >= self._max_overflow
        if self._pool.empty() and started < meter.gate_until:
            metrics.POOL_REFUSED.labels(metrics.POOL, "connect_gate").inc()
            raise PoolRefused(meter.gate_reason)
        if would_wait and meter.waiting >= meter.waiters_max:
            metrics.POOL_REFUSED.labels(metrics.POOL, "waiter_limit").inc()
            raise PoolRefused("waiter_limit")
        meter.waiting += would_wait
        if record is not None:
            record.stage = "pool"
        try:
            entry = super()._do_get()
        except exc.TimeoutError:
            metrics.POOL_TIMEOUTS.labels(metrics.POOL).inc()
            raise
        except ConnectFailed as error:
            meter.close_gate(error.reason)
            raise
        finally:
            meter.waiting -= would_wait
            self._note_wait(meter.clock() - started, record)
        meter.held[entry] = (meter.clock(), record.route if record is not None else "")
        if record is not None:
            record.stage = "database"
        return entry

    def _do_return_conn(self, record: ConnectionPoolEntry) -> None:
        since, route = self.meter.held.pop(record, (None, ""))
        if since is not None:
            held = self.meter.clock() - since
            metrics.POOL_USE_SECONDS.labels(metrics.POOL, route).observe(held)
        super()._do_return_conn(record)

    @staticmethod
    def _note_wait(waited: float, record: RequestRecord | None) -> None:
        exemplar = None
        if record is not None:
            record.pool_wait_seconds += waited
            if waited > KEEP_POOL_WAIT_SECONDS and record.trace_id:
                exemplar = {"trace_id": record.trace_id}
        metrics.POOL_WAIT_SECONDS.labels(metrics.POOL).observe(waited, exemplar)
        if waited >= SPAN_FROM_SECONDS:
            past_span(
                "db.pool.acquire",
                {"db.client.connection.pool.name": metrics.POOL},
                seconds=waited,
            )


def watch(pool: Any) -> None:
    """Read the pool's gauges from the pool at every scrape, so that they cannot drift."""
    connections = metrics.POOL_CONNECTIONS
    connections.labels(metrics.POOL, "used").set_function(lambda: pool().checkedout())
    connections.labels(metrics.POOL, "idle").set_function(lambda: pool().checkedin())
    metrics.POOL_MAX.labels(metrics.POOL).set_function(
        lambda: pool().size() + pool()._max_overflow  # noqa: SLF001 - has no public reader
    )
    metrics.POOL_PENDING.labels(metrics.POOL).set_function(lambda: pool().meter.waiting)
    metrics.POOL_OLDEST_CHECKOUT_SECONDS.read = pool().meter.oldest_checkouts
