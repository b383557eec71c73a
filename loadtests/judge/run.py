"""What one load test left, and the limits that several scenarios share."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from loadtests.judge.limits import (
    LOCUST_LATE_SECONDS_MAX,
    RECOVERY_SECONDS_MAX,
    UNRELATED_RATIO_MAX,
    Limit,
    late_p99,
    p99,
    ratio,
    recovery,
    slowdown,
)
from loadtests.traffic.phases import Phase, length
from loadtests.traffic.sample import Sample

GOODPUT_MIN = 0.9
"""What is served under overload, of what is served at full capacity."""


@dataclass
class Run:
    """What one run left.

    planned: requests that the generators owe, by number of the phase. gone_through: how many phases the run
    came to the end of. mended: seconds since the start, by name of the phase whose break ended. judged:
    what the provider saw, by phase. resident_bytes: of the service, at the end of each phase. metrics: what
    the service itself counted over the run.
    """

    scenario: str
    phases: Sequence[Phase]
    samples: list[Sample] = field(default_factory=list)
    planned: Counter[int] = field(default_factory=Counter)
    gone_through: int = 0
    dropped: int = 0
    is_generator_busy: bool = False
    mended: dict[str, float] = field(default_factory=dict)
    judged: dict[str, dict[str, Any]] = field(default_factory=dict)
    resident_bytes: list[float] = field(default_factory=list)
    metrics: Mapping[str, float] = field(default_factory=dict)

    @property
    def owed(self) -> int:
        """Requests planned in the phases that were gone through."""
        return sum(self.planned[number] for number in range(self.gone_through))

    @property
    def missing(self) -> int:
        """Owed requests of which nothing is known: neither an answer nor that they were dropped."""
        known = sum(s.attempt == 0 and s.phase < self.gone_through for s in self.samples)
        return self.owed - known - self.dropped

    @property
    def best(self) -> int:
        """Number of the phase that served most, of those of which anything was sent."""
        return max(sorted({sample.phase for sample in self.samples}), key=self._served)

    def number(self, phase: str) -> int:
        return [one.name for one in self.phases].index(phase)

    def of(self, phase: str, route: str | None = None) -> list[Sample]:
        number = self.number(phase)
        return [s for s in self.samples if s.phase == number and route in {None, s.route}]

    def goodput(self, phase: str) -> float:
        """Good answers a second."""
        return self._served(self.number(phase))

    def _served(self, number: int) -> float:
        good = sum(sample.is_good for sample in self.samples if sample.phase == number)
        return good / self.phases[number].seconds


def void(run: Run, *, stops_when_full: bool = False) -> str | None:
    """Why the result says nothing, or None: the generator was too slow, or a part of it was lost.

    stops_when_full: beyond the best phase it may be late.
    """
    reasons = []
    if not run.samples:
        reasons.append("no request was answered")
    last = run.best if stops_when_full and run.samples else len(run.phases)
    late = late_p99(one for one in run.samples if one.phase <= last)
    if late > LOCUST_LATE_SECONDS_MAX:
        reasons.append(f"requests started {late * 1000:.0f} ms late at the 99th percentile")
    if run.dropped:
        reasons.append(f"{run.dropped} arrivals were dropped")
    if run.missing > 0:
        reasons.append(f"nothing is known of {run.missing} of {run.owed} planned requests")
    if run.is_generator_busy:
        reasons.append("Locust's own processor was full")
    return "; ".join(reasons) or None


def beyond_deadline(run: Run) -> Limit:
    return Limit("answers beyond the deadline", sum(s.is_late for s in run.samples), most=0)


def still_served(run: Run, phase: str) -> Limit:
    """Beside the phase called full."""
    share = ratio(run.goodput(phase), run.goodput("full"))
    return Limit(f"served in {phase}", share, "x capacity", least=GOODPUT_MIN)


def slower(
    run: Run, name: str, route: str, *, during: str, most: float = UNRELATED_RATIO_MAX
) -> Limit:
    """A route beside itself in the phase called calm."""
    times = slowdown(p99(run.of("calm", route)), p99(run.of(during, route)), most=most)
    return Limit(name, times, "x calm", most=most)


def recovered(run: Run, after: str, name: str = "recovery") -> Limit:
    """From the end of the phase before `after`, or from its mend, to the end of `after`."""
    number = run.number(after)
    end = length(run.phases[: number + 1])
    mended = run.mended.get(run.phases[number - 1].name, length(run.phases[:number]))
    seconds = recovery(run.samples, mended=mended, end=end)
    return Limit(name, seconds, "s", most=RECOVERY_SECONDS_MAX)
