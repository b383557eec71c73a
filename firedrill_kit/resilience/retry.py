"""What bounds retries besides their number: a budget over all callers, and the peer's own Retry-After."""

from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime


class RetryBudget:
    """At most `ratio` extra calls over `window_seconds`, and at least `floor` of them.

    Retries multiply the load on a peer exactly when it has trouble: without a budget three attempts are
    three times the load. The floor lets a service with few calls retry at all.
    clock: seconds of any origin, never running backwards.
    """

    def __init__(
        self,
        *,
        clock: Callable[[], float],
        ratio: float = 0.1,
        window_seconds: float = 10.0,
        floor: int = 10,
    ) -> None:
        self._clock = clock
        self._ratio = ratio
        self._window_seconds = window_seconds
        self._floor = floor
        self._calls: deque[float] = deque()
        self._retries: deque[float] = deque()

    def note_call(self) -> None:
        """Count a first attempt: it earns a share of a retry."""
        self._forget(self._calls)
        self._calls.append(self._clock())

    def take(self) -> bool:
        """Take one retry out of the budget; False when nothing is left."""
        self._forget(self._calls)
        self._forget(self._retries)
        if len(self._retries) >= max(self._floor, self._ratio * len(self._calls)):
            return False
        self._retries.append(self._clock())
        return True

    def _forget(self, times: deque[float]) -> None:
        oldest = self._clock() - self._window_seconds
        while times and times[0] <= oldest:
            times.popleft()


def retry_after_seconds(header: str | None, *, now: datetime | None = None) -> float | None:
    """Return the seconds that a Retry-After header asks for, at least 0; None if it says nothing.

    Both forms of RFC 9110 §10.2.3: whole seconds, or a date, which is compared with now.
    """
    text = (header or "").strip()
    if text.isascii() and text.isdigit() and len(text) <= 9:
        return float(text)
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - (now or datetime.now(UTC))).total_seconds())
