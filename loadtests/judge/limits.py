"""The limits by which every run is judged, a load test and a fault alike, and how each is measured.

They are judged on what was measured, not on Locust's report, which rounds (354 ms is 350). Limits of speed
are ratios within one run, or the service's own promises (deadlines, the pool's time limit).
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from loadtests.traffic.sample import Sample
from loadtests.world.description import SERVED

LOCUST_LATE_SECONDS_MAX = 0.010
"""p99 of how late a request was sent: above it, the generator measured itself. Locust's processes, with a
better niceness, are 1 to 5 ms late up to the capacity of a replica (docs/load.json)."""
ENGINE_LATE_SECONDS_MAX = 0.050
"""The same of the asyncio engine, which shares two cores with service, PostgreSQL and provider as their
equal: 10 to 40 ms (docs/resilience.json), and what it judges is seconds."""
SLOW_SECONDS = SERVED.slow_seconds
"""What is slower is not normal."""
RECOVERY_SECONDS_MAX = 2.0
RECOVERY_WINDOW_SECONDS = 1.0
NORMAL_SHARE = 0.95
"""Share of a second's answers that must be fast again; of 40 a second, the p99 would be one request."""
UNRELATED_RATIO_MAX = 2.0
UNRELATED_FLOOR_SECONDS = 0.05
"""A p99 under this is not called slow, whatever it was before: a scrape or a collection takes as long."""


@dataclass(frozen=True)
class Limit:
    """name: what is limited. figure: None where nothing gives it, or it was not reached, which no bound
    allows. One of most and least; neither: it is only reported.
    """

    name: str
    figure: float | None
    unit: str = ""
    most: float | None = None
    least: float | None = None

    @property
    def holds(self) -> bool:
        if self.figure is None:
            return self.most is None and self.least is None
        return not (
            (self.most is not None and self.figure > self.most)
            or (self.least is not None and self.figure < self.least)
        )

    @property
    def row(self) -> dict[str, Any]:
        """The limit as a record holds it."""
        figure = None if self.figure is None else round(self.figure, 4)
        return {**asdict(self), "figure": figure, "holds": self.holds}

    def __str__(self) -> str:
        bound = ""
        if self.most is not None:
            bound = f", at most {self.most:.4g}"
        elif self.least is not None:
            bound = f", at least {self.least:.4g}"
        if self.figure is None:
            return f"{self.name}: not reached{bound}"
        return f"{self.name}: {self.figure:.4g}{' ' * bool(self.unit)}{self.unit}{bound}"


def percentile(values: Sequence[float], share: float) -> float:
    """Return the nearest-rank percentile; share: 0-1. Raises IndexError without values."""
    return round(sorted(values)[max(0, math.ceil(share * len(values)) - 1)], 4)


def p99(samples: Iterable[Sample]) -> float:
    """Seconds until 99 of 100 were answered; 0 without samples."""
    seconds = [sample.seconds for sample in samples]
    return percentile(seconds, 0.99) if seconds else 0.0


def late_p99(samples: Iterable[Sample]) -> float:
    """Seconds by which the generator was late, 99 of 100. A barrier and a repetition are so on purpose."""
    late = [s.late_seconds for s in samples if not s.is_at_once and s.attempt == 0]
    return percentile(late, 0.99) if late else 0.0


def ratio(part: float, whole: float) -> float | None:
    """None where there is nothing to compare with: a service that never served anything keeps no limit."""
    return part / whole if whole else None


def slowdown(before: float, during: float, *, most: float = UNRELATED_RATIO_MAX) -> float:
    """How many times its p99 before a p99 is. One under the floor is never more than `most` times it."""
    return during / max(before, UNRELATED_FLOOR_SECONDS / most)


def recovery(samples: Iterable[Sample], *, mended: float, end: float) -> float | None:
    """Return the seconds from the mend until all is as before; None when that was not reached.

    That is the first moment from which, until `end`, no request that becomes due fails or is late, and at
    which the answers are fast again: of the requests due in the second after it (one that ends before
    `end`), NORMAL_SHARE are answered within SLOW_SECONDS. mended, end: seconds from the start of the load.
    """
    after = sorted((one for one in samples if mended <= one.due < end), key=lambda one: one.due)
    bad = [one.due for one in after if one.is_failed or one.is_late]
    start = max([mended, *bad])
    for at in [mended, *(one.due for one in after)]:
        if at < start or at + RECOVERY_WINDOW_SECONDS > end:
            continue
        window = [one for one in after if at < one.due <= at + RECOVERY_WINDOW_SECONDS]
        fast = sum(one.seconds <= SLOW_SECONDS for one in window)
        if window and fast >= NORMAL_SHARE * len(window):
            return round(at - mended, 3)
    return None
