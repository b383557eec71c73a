"""Single flight: many callers with the same key share one piece of work and its result.

The work runs in a task of its own, detached from the caller that came first: a caller that is cancelled or
runs out of time leaves, the work goes on. The task starts with an empty context, so it inherits neither
a deadline, a trace nor a request record. A newcomer's usual mistake is to remove the entry in the
caller's `finally`: a cancelled caller then lets a second flight start beside the first.
"""

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from contextvars import Context
from typing import Any, Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class SingleFlight(Generic[K, V]):
    """Flights of one event loop, at most one for each key at a time."""

    def __init__(self) -> None:
        # Also the strong references that keep the tasks from being collected.
        self._flights: dict[K, asyncio.Task[V]] = {}

    def __contains__(self, key: K) -> bool:
        """Whether a flight is under way that a caller would join."""
        task = self._flights.get(key)
        return task is not None and not task.done()

    def __len__(self) -> int:
        return len(self._flights)

    async def run(self, key: K, work: Callable[[], Coroutine[Any, Any, V]]) -> V:
        """Return what the key's flight returns, or raise what it raises; start it if there is none.

        Cancelling the caller does not cancel the flight.
        """
        task = self._flights.get(key)
        if task is None or task.done():
            task = asyncio.get_running_loop().create_task(work(), context=Context())
            self._flights[key] = task
            task.add_done_callback(lambda done: self._land(key, done))
        return await asyncio.shield(task)

    async def drain(self, seconds: float) -> int:
        """Wait for the flights, cancel those that take longer; return how many were cancelled."""
        if not self._flights:
            return 0
        _, late = await asyncio.wait(self._flights.values(), timeout=seconds)
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)
        return len(late)

    def _land(self, key: K, task: asyncio.Task[V]) -> None:
        if self._flights.get(key) is task:
            del self._flights[key]
        if not task.cancelled():
            task.exception()  # every caller may have left: nobody else retrieves it
