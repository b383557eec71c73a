"""What may lie here of bodies that are still arriving: for each caller, and for all together.

Waiting for a body takes no place at admission, so its bound is here. Who holds too much loses what has
been arriving longest: a caller whose bodies come at once is never in the way of one whose bodies do not
come, even if both have the same address.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

OPEN_REQUEST_BYTES = 32 * 1024
"""What a request counts before any of its body is there: its tasks, span and buffers."""


@dataclass(eq=False, slots=True)
class _Arriving:
    caller: str
    limit: asyncio.Timeout
    held_bytes: int = 0


class Arrivals:
    """of_caller_bytes, bytes_max: of one caller and of all, more than the largest body."""

    def __init__(self, *, of_caller_bytes: int, bytes_max: int) -> None:
        self._of_caller_bytes = of_caller_bytes
        self._bytes_max = bytes_max
        self._held: Counter[str] = Counter()
        # In order of their beginning: dictionaries as sets that have one.
        self._arriving: dict[str, dict[_Arriving, None]] = {}

    @property
    def held_bytes(self) -> int:
        return self._held.total()

    @contextmanager
    def arriving(self, caller: str, limit: asyncio.Timeout) -> Iterator[Callable[[int], None]]:
        """Hold what arrives; gives a function to call with each number of bytes.

        limit: of the time it may take; it ends at once when the caller holds too much.
        """
        item = _Arriving(caller, limit)
        self._arriving.setdefault(caller, {})[item] = None
        try:
            self._add(item, OPEN_REQUEST_BYTES)
            yield partial(self._add, item)
        finally:
            self._forget(item)

    def _add(self, item: _Arriving, count: int) -> None:
        if item not in self._arriving.get(item.caller, {}):
            return  # given up, and about to notice
        item.held_bytes += count
        self._held[item.caller] += count
        while self._held[item.caller] > self._of_caller_bytes:
            self._give_up_oldest(item.caller)
        while self.held_bytes > self._bytes_max:
            ((most, _),) = self._held.most_common(1)
            self._give_up_oldest(most)

    def _give_up_oldest(self, caller: str) -> None:
        item = next(iter(self._arriving[caller]))
        self._forget(item)
        if not item.limit.expired():
            item.limit.reschedule(asyncio.get_running_loop().time())

    def _forget(self, item: _Arriving) -> None:
        arriving = self._arriving.get(item.caller, {})
        if item not in arriving:
            return
        del arriving[item]
        self._held[item.caller] -= item.held_bytes
        if not arriving:
            del self._arriving[item.caller], self._held[item.caller]
