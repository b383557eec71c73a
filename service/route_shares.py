"""What the requests of one route may hold of the connections, so that the others have the rest.

All routes share one pool. When a table is locked, each request that needs it holds a connection until its
lock timeout, and the routes that do not need it wait with the others (p99 77 to 310 ms, docs/resilience.md).
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import sqlalchemy.exc

from firedrill_kit import metrics as core_metrics
from firedrill_kit.pool import PoolMeter
from firedrill_kit.telemetry.record import current


class RouteShares:
    """Limits the connections that each route holds. Waiting here is reported as waiting for the pool.

    share: connections that one route may hold. wait_seconds: the pool's own timeout.
    """

    def __init__(self, meter: PoolMeter, share: int, wait_seconds: float) -> None:
        self._meter = meter
        self._share = share
        self._wait_seconds = wait_seconds
        self._slots: dict[str, asyncio.Semaphore] = {}

    @asynccontextmanager
    async def connection_slot(self) -> AsyncIterator[None]:
        """Hold one of the route's slots for the block; work that belongs to no request needs none.

        Raises sqlalchemy.exc.TimeoutError and PoolRefused, as the pool does.
        """
        record = current()
        if record is None:
            yield
            return
        slots = self._slots.get(record.route)
        if slots is None:
            slots = self._slots[record.route] = asyncio.Semaphore(self._share)
        if slots.locked():
            await self._wait(slots)
        else:
            await slots.acquire()
        try:
            yield
        finally:
            slots.release()

    async def _wait(self, slots: asyncio.Semaphore) -> None:
        meter, waiter = self._meter, object()
        meter.admit(waiter)
        started = meter.clock()
        try:
            async with asyncio.timeout(self._wait_seconds):
                await slots.acquire()
        except TimeoutError:
            core_metrics.POOL_TIMEOUTS.labels(meter.name).inc()
            raise sqlalchemy.exc.TimeoutError("the share of the route is used up") from None
        finally:
            meter.waiters.discard(waiter)
            meter.note_wait(meter.clock() - started, current())
