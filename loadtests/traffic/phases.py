"""How hard: a load is a row of phases, and a phase says when each of its requests is due.

Arrivals are open-loop: a request is due when it is due, whatever became of those before it. No wait time of
Locust is (`constant_throughput`, `constant_pacing` and `poisson` all wait after the answer), and a loop that
waits with the server hides exactly the hang that is looked for.
"""

import heapq
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from loadtests.world.description import Release


@dataclass(frozen=True)
class Phase:
    """A part of a load.

    rates: requests a second by route (`METHOD template`). evenly: seconds between the requests of a route, at
    even distances, the first one after one of them. at_once: requests by route that are all due together,
    `at_once_after` seconds into the phase: a barrier, closed on purpose. breaks: what is broken while it
    lasts, as `python -m loadtests.faults` names it. retries: how often a caller asks again after a refusal:
    at once, or when `Retry-After` says so if it heeds_retry_after. release: a broken one of some clients.
    """

    name: str
    seconds: float
    rates: Mapping[str, float] = field(default_factory=dict)
    evenly: Mapping[str, float] = field(default_factory=dict)
    at_once: Mapping[str, int] = field(default_factory=dict)
    at_once_after: float = 0.0
    breaks: tuple[str, ...] = ()
    retries: int = 0
    heeds_retry_after: bool = False
    release: Release | None = None


@dataclass(frozen=True)
class Due:
    """at: seconds since the start of the load. phase: its number, from 0."""

    at: float
    route: str
    phase: int = 0
    is_at_once: bool = False


def scaled(rates: Mapping[str, float], total: float) -> dict[str, float]:
    """The same mix with another sum. total: requests a second."""
    factor = total / sum(rates.values())
    return {route: rate * factor for route, rate in rates.items()}


def stretched(phases: Sequence[Phase], seconds: float) -> tuple[Phase, ...]:
    """The same phases with another sum of seconds."""
    factor = seconds / length(phases)
    return tuple(
        replace(phase, seconds=phase.seconds * factor, at_once_after=phase.at_once_after * factor)
        for phase in phases
    )


def length(phases: Sequence[Phase]) -> float:
    """Seconds of all phases."""
    return sum(phase.seconds for phase in phases)


def starts(phases: Sequence[Phase]) -> list[float]:
    """Seconds from the start of the load to that of each phase."""
    return [length(phases[:number]) for number in range(len(phases))]


def arrivals(phases: Sequence[Phase], *, seed: int | str, share: float = 1.0) -> Iterator[Due]:
    """Every request that one generator owes, in order of time: a Poisson process for each route.

    seed: of the arrivals, the same for the same. share: of all the requests, 0-1; several generators with
    seeds of their own make the whole together.
    """
    chance = random.Random(seed)  # noqa: S311 - arrivals
    for number, (phase, start) in enumerate(zip(phases, starts(phases), strict=True)):
        barrier = [
            Due(start + phase.at_once_after, route, number, is_at_once=True)
            for route, count in phase.at_once.items()
            for _ in range(round(count * share))
        ]
        even = [
            [Due(start + apart * count, route, number) for count in _counts(phase.seconds / apart)]
            for route, apart in phase.evenly.items()
        ]
        processes = [
            _process(rate * share, Due(start, route, number), phase.seconds, chance)
            for route, rate in phase.rates.items()
            if rate > 0
        ]
        yield from heapq.merge(barrier, *even, *processes, key=lambda due: due.at)


def _counts(most: float) -> range:
    return range(1, int(most) + 1)


def _process(rate: float, first: Due, seconds: float, chance: random.Random) -> Iterator[Due]:
    """first: at the start of the phase, which it is not part of."""
    at = first.at + chance.expovariate(rate)
    while at < first.at + seconds:
        yield replace(first, at=at)
        at += chance.expovariate(rate)
