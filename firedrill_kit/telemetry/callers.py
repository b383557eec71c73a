"""How many callers were answered how, lately: counts of distinct ones, by their last answer.

A share of requests is made by the callers that send most; a share of callers is not. Who they are stays
in here: labels hold counts only. The newcomer's mistake is to add up replicas and to believe the number:
a caller of two replicas is counted by both.
"""

import time
from collections import Counter
from collections.abc import Callable, Mapping

from firedrill_kit.telemetry.labels import PROBER

WINDOW_SECONDS = 120.0
"""A caller counts for this long after the last answer."""
CALLERS_MAX = 1000
"""Of one route and method; then those that were answered longest ago are forgotten."""

REJECTED, SERVED = "rejected", "served"


class RecentCallers:
    """clock: seconds, any origin. Written by the loop, read on the scrape's thread."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._seen: dict[tuple[str, str], dict[str, tuple[float, str, str]]] = {}

    def note(self, route: str, method: str, caller: str, client_version: str, status: int) -> None:
        """Remember the answer; 422 rejects, below 400 serves, the rest says nothing about the contract."""
        if client_version == PROBER or not caller:
            return
        if status != 422 and status >= 400:
            return
        answer = REJECTED if status == 422 else SERVED
        callers = self._seen.setdefault((route, method), {})
        # Taken out first: a dict keeps the order of insertion, so the oldest comes first.
        callers.pop(caller, None)
        callers[caller] = (self._clock(), client_version, answer)
        if len(callers) > CALLERS_MAX:
            del callers[next(iter(callers))]

    def counts(self) -> Mapping[tuple[str, ...], float]:
        """Return distinct callers by route, method, client version and answer; both answers, also at 0."""
        since = self._clock() - WINDOW_SECONDS
        found: Counter[tuple[str, ...]] = Counter()
        for key, callers in list(self._seen.items()):
            for answered_at, version, answer in list(callers.values()):
                if answered_at >= since:
                    found[*key, version, answer] += 1
        for *labels, _ in list(found):
            for answer in (REJECTED, SERVED):
                found[*labels, answer] += 0
        return found
