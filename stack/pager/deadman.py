"""The dead-man: whether Prometheus is alive, judged by the stamps it puts on Watchdog. Pure; time comes in.

The newcomer's mistake: counting notifications as beats. Alertmanager repeats Watchdog from memory for minutes
after Prometheus has stopped (204 s measured), so only the stamp that the rule wrote counts, and a resolved
Watchdog is no beat at all. One pager watches one Prometheus, or one pair that evaluates the same rules.
"""

import math
from dataclasses import dataclass
from typing import Literal

# Prometheus sends Watchdog again every 20 s and Alertmanager passes it on every 20 s: a living beat was at
# most 40 s old (measured), so one lost notification is no alarm. Promised are 75 s from the last beat to the
# page; one less here, because the stamp is rounded to a second and we look twice a second (75.2 s measured).
SILENCE_SECONDS = 74.0

# Asked twice a second; a gap longer than this means that we were stopped, not that Prometheus was silent.
OWN_GAP_SECONDS = 10.0

State = Literal["waiting", "alive", "dead"]
Change = Literal["died", "recovered"]


class InvalidBeat(Exception):
    """Watchdog came without a usable stamp."""


@dataclass
class DeadMan:
    """Moments in seconds since 1970. watching_since: from when on silence counts."""

    watching_since: float
    last_beat: float | None = None
    is_dead: bool = False
    looked_at: float | None = None

    def hear(self, beat: float, now: float) -> None:
        """A beat from the future (clock skew) counts as one of now: it must not blind us until then."""
        self.last_beat = max(min(beat, now), self.last_beat or 0.0)

    def look(self, now: float) -> Change | None:
        """Decide again; to be called at least every OWN_GAP_SECONDS."""
        if self.looked_at is not None and now - self.looked_at > OWN_GAP_SECONDS:
            self.watching_since = now
        self.looked_at = now
        # Once dead, only a beat revives: our own restart proves nothing about Prometheus.
        if self.is_dead:
            if self.last_beat is not None and now - self.last_beat <= SILENCE_SECONDS:
                self.is_dead = False
                return "recovered"
            return None
        if now - max(self.last_beat or 0.0, self.watching_since) > SILENCE_SECONDS:
            self.is_dead = True
            return "died"
        return None

    def is_watched(self, now: float) -> bool:
        """Whether somebody still calls `look`; True before the first time."""
        return self.looked_at is None or now - self.looked_at <= OWN_GAP_SECONDS

    @property
    def state(self) -> State:
        if self.is_dead:
            return "dead"
        if self.last_beat is None or self.last_beat < self.watching_since:
            return "waiting"
        return "alive"


def beat_of(annotations: dict[str, str]) -> float:
    """The stamp of a firing Watchdog, in seconds since 1970. Raises InvalidBeat."""
    try:
        beat = float(annotations["beat"])
    except KeyError as error:
        raise InvalidBeat(
            "Watchdog carries no annotation `beat`: its rule must set it to its evaluation time"
        ) from error
    except ValueError as error:
        raise InvalidBeat("Watchdog's annotation `beat` is not a number of seconds") from error
    if not math.isfinite(beat) or beat <= 0:
        raise InvalidBeat("Watchdog's annotation `beat` is not a moment in seconds since 1970")
    return beat
