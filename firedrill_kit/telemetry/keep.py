"""Which traces are kept: decided once per request, here, so that exemplars always resolve.

The decision is an attribute of the server span (`firedrill.trace.keep`); the collector follows it and the
histogram names the trace in an exemplar only when it is kept.
"""

import time
from collections.abc import Callable

from firedrill_kit.telemetry.record import KEEP_POOL_WAIT_SECONDS, RequestRecord

SLOW_SECONDS = 0.25
"""The latency threshold of the SLO: what is slower is worth explaining."""
LIMITED_STATUSES = frozenset({401, 404, 408, 429})
"""Problems that anybody can cause at any rate."""
LIMITED_INTERVAL_SECONDS = 1.0

_RATIO_BITS = 64


class Keep:
    """Decides for one process.

    base_ratio: 0-1, share of unremarkable requests whose trace is kept, by trace id, so that every
        service that sees the id decides the same.
    clock: seconds, monotonic.
    """

    def __init__(
        self, *, base_ratio: float, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self._bound = round(base_ratio * (1 << _RATIO_BITS))
        self._clock = clock
        self._last: dict[int, float] = {}

    def request(self, record: RequestRecord, status: int) -> bool:
        """Decide for a request that is about to be answered with this status.

        False without a trace: an exemplar that leads nowhere is worse than none.
        """
        if not record.trace_id or record.shed:
            return False
        now = self._clock()
        if (
            record.pool_wait_seconds >= KEEP_POOL_WAIT_SECONDS
            or record.seconds(now) > SLOW_SECONDS
            or self.ratio(int(record.trace_id, 16))
        ):
            return True
        if not record.code and status < 500:
            return False
        return status not in LIMITED_STATUSES or self._first_in_interval(status, now)

    def root(self, trace_id: int, *, seconds: float, failed: bool) -> bool:
        """Decide for a root span that no request began and that has just ended."""
        return failed or seconds > SLOW_SECONDS or self.ratio(trace_id)

    def ratio(self, trace_id: int) -> bool:
        # The low 64 bits, as OpenTelemetry's ratio sampler takes them.
        return trace_id & ((1 << _RATIO_BITS) - 1) < self._bound

    def _first_in_interval(self, status: int, now: float) -> bool:
        last = self._last.get(status)
        if last is not None and now - last < LIMITED_INTERVAL_SECONDS:
            return False
        self._last[status] = now
        return True
