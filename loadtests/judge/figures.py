"""From the outcomes of one run to the figures that are promised."""

import math
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from loadtests.traffic.engine import Outcome

SPARE_SECONDS = 0.2
"""What an answer may take beyond its deadline."""
SLOW_SECONDS = 0.25
"""The latency threshold of the SLO: slower is not normal."""
NORMAL_WINDOW_SECONDS = 1.0
NORMAL_SHARE = 0.95
"""Of a second's answers so many are fast again; a second holds 40, so its p99 would be one request."""
RECOVERY_SECONDS_MAX = 2.0
UNRELATED_RATIO_MAX = 2.0
UNRELATED_FLOOR_SECONDS = 0.05
"""A p99 under this is left alone by the ratio: milliseconds double when the machine breathes."""
LATE_START_SECONDS_MAX = 0.05


@dataclass(frozen=True)
class Phases:
    """Seconds from the start of the load: the fault begins, is mended, the load ends."""

    broken: float
    mended: float
    end: float


@dataclass(frozen=True)
class Figures:
    """One row of the table. Times in seconds; `None` where there was nothing to measure.

    answers: how many of which status and code, during the fault. readyz: statuses seen then.
    """

    fault: str
    what: str
    requests: int
    in_time: int
    slowest_over_deadline: float
    answers: dict[str, int]
    unrelated_p99_before: float | None
    unrelated_p99_during: float | None
    recovery: float | None
    readyz: list[int]
    checked_out: int
    idle_in_transaction: int
    late_start_p99: float

    def broken_limits(self) -> list[str]:
        """Return which promises this row does not keep."""
        broken = []
        if self.in_time < self.requests:
            late = self.requests - self.in_time
            broken.append(f"{late} of {self.requests} requests not answered in time")
        if self.recovery is None or self.recovery > RECOVERY_SECONDS_MAX:
            broken.append(f"not normal {RECOVERY_SECONDS_MAX:g} s after mending")
        if self.checked_out or self.idle_in_transaction:
            broken.append("connections left behind")
        before, during = self.unrelated_p99_before, self.unrelated_p99_during
        if before is not None and during is not None:
            limit = max(UNRELATED_RATIO_MAX * before, UNRELATED_FLOOR_SECONDS)
            if during > limit:
                broken.append(
                    f"unrelated routes' p99 went from {before * 1000:.0f} to {during * 1000:.0f} ms"
                )
        return broken

    @property
    def is_void(self) -> bool:
        """Whether the generator itself was late: then the row says nothing about the service."""
        return self.late_start_p99 > LATE_START_SECONDS_MAX


def figures(
    outcomes: Sequence[Outcome],
    phases: Phases,
    *,
    fault: str,
    what: str,
    unrelated: Collection[str],
    block_seconds: float,
    readyz: Iterable[int],
    checked_out: int,
    idle_in_transaction: int,
) -> Figures:
    """Judge one run. block_seconds: added to every deadline, for a loop that stood still."""
    over = [item.seconds - item.deadline_seconds - block_seconds for item in outcomes]
    in_time = [
        bool(item.status) and late <= SPARE_SECONDS
        for item, late in zip(outcomes, over, strict=True)
    ]
    during = [item for item in outcomes if phases.broken <= item.due < phases.mended]
    others = [item for item in outcomes if item.route in unrelated]
    return Figures(
        fault=fault,
        what=what,
        requests=len(outcomes),
        in_time=sum(in_time),
        slowest_over_deadline=round(max(over), 3),
        answers=dict(Counter(_answer(item) for item in during).most_common()),
        unrelated_p99_before=_p99(item for item in others if item.due < phases.broken),
        unrelated_p99_during=_p99(
            item for item in others if phases.broken <= item.due < phases.mended
        ),
        recovery=_recovery(outcomes, phases),
        readyz=sorted(set(readyz)),
        checked_out=checked_out,
        idle_in_transaction=idle_in_transaction,
        late_start_p99=percentile([item.late_start_seconds for item in outcomes], 0.99),
    )


def _answer(item: Outcome) -> str:
    if item.status == 0:
        return item.code
    degraded = " degraded" if item.degraded else ""
    return f"{item.status} {item.code}".strip() + degraded


def _recovery(outcomes: Iterable[Outcome], phases: Phases) -> float | None:
    """Return how long after mending all is as before: no later failure, and answers fast again.

    None when that was not reached before the load ended.
    """
    after = sorted(
        (item for item in outcomes if item.due >= phases.mended), key=lambda item: item.due
    )
    failed = [item.due for item in after if _is_failed(item)]
    start = max([phases.mended, *failed])
    for at in [phases.mended, *(item.due for item in after)]:
        if at < start or at + NORMAL_WINDOW_SECONDS > phases.end:
            continue
        window = [item for item in after if at < item.due <= at + NORMAL_WINDOW_SECONDS]
        fast = sum(item.seconds <= SLOW_SECONDS for item in window)
        if window and fast >= NORMAL_SHARE * len(window):
            return round(at - phases.mended, 3)
    return None


def _is_failed(item: Outcome) -> bool:
    return item.status == 0 or item.status >= 500 or item.degraded


def _p99(items: Iterable[Outcome]) -> float | None:
    seconds = [item.seconds for item in items]
    return percentile(seconds, 0.99) if seconds else None


def percentile(values: Sequence[float], share: float) -> float:
    """Return the nearest-rank percentile; share: 0-1. Raises IndexError without values."""
    return round(sorted(values)[max(0, math.ceil(share * len(values)) - 1)], 4)
