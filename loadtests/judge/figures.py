"""From the samples of one fault to the figures that are promised."""

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from loadtests.judge.limits import (
    ENGINE_LATE_SECONDS_MAX,
    RECOVERY_SECONDS_MAX,
    UNRELATED_RATIO_MAX,
    late_p99,
    p99,
    recovery,
    slowdown,
)
from loadtests.traffic.sample import GRACE_SECONDS, Sample


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
        if before and during and slowdown(before, during) > UNRELATED_RATIO_MAX:
            broken.append(
                f"unrelated routes' p99 went from {before * 1000:.0f} to {during * 1000:.0f} ms"
            )
        return broken

    @property
    def is_void(self) -> bool:
        """Whether the generator itself was late: then the row says nothing about the service."""
        return self.late_start_p99 > ENGINE_LATE_SECONDS_MAX


def figures(
    samples: Sequence[Sample],
    *,
    broken: float,
    mended: float,
    end: float,
    fault: str,
    what: str,
    unrelated: Collection[str],
    block_seconds: float,
    readyz: Iterable[int],
    checked_out: int,
    idle_in_transaction: int,
) -> Figures:
    """Judge one run. broken, mended, end: seconds from the start of the load. block_seconds: added to every
    deadline, for a loop that stood still.
    """
    over = [sample.seconds_over - block_seconds for sample in samples]
    in_time = [
        bool(sample.status) and late <= GRACE_SECONDS
        for sample, late in zip(samples, over, strict=True)
    ]
    during = [sample for sample in samples if broken <= sample.due < mended]
    return Figures(
        fault=fault,
        what=what,
        requests=len(samples),
        in_time=sum(in_time),
        slowest_over_deadline=round(max(over), 3),
        answers=dict(Counter(_answer(sample) for sample in during).most_common()),
        unrelated_p99_before=_p99_of(unrelated, (one for one in samples if one.due < broken)),
        unrelated_p99_during=_p99_of(unrelated, during),
        recovery=recovery(samples, mended=mended, end=end),
        readyz=sorted(set(readyz)),
        checked_out=checked_out,
        idle_in_transaction=idle_in_transaction,
        late_start_p99=late_p99(samples),
    )


def _answer(sample: Sample) -> str:
    if sample.status == 0:
        return sample.code
    degraded = " degraded" if sample.is_degraded else ""
    return f"{sample.status} {sample.code}".strip() + degraded


def _p99_of(routes: Collection[str], samples: Iterable[Sample]) -> float | None:
    return p99(one for one in samples if one.route in routes) or None
