"""A circuit breaker for asyncio: at most one probe while half-open, and no verdict from the past.

None of the five asyncio breakers tried limits half-open probes (50 of 50 callers went through), so this
one is our own. One breaker watches one peer in one process: four processes are four breakers. It hears
about *attempts*, not about logical calls, so retries inside it count. A newcomer's usual mistake is to
count a cancelled caller or a refused request (4xx) as a failure of the peer: those are NEUTRAL.
"""

import enum
from collections import deque
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

Clock = Callable[[], float]


class State(enum.StrEnum):
    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class Outcome(enum.Enum):
    OK = enum.auto()
    FAIL = enum.auto()
    NEUTRAL = enum.auto()
    """Says nothing about the peer's health."""


class CircuitOpenError(Exception):
    """The call was not made. retry_after_seconds: until the next probe is due, at least 0."""

    def __init__(self, retry_after_seconds: float) -> None:
        super().__init__("circuit open")
        self.retry_after_seconds = retry_after_seconds


@dataclass(slots=True)
class Attempt:
    """One call under way. Its caller sets `outcome`; what raises or is cancelled stays NEUTRAL."""

    generation: int
    outcome: Outcome = Outcome.NEUTRAL
    subject: Hashable = None


class Breaker:
    """Opens when, of the attempts of the last `window_seconds`, `failures_min` or more failed and
    they are at least `failure_ratio` of those with a verdict; after `open_seconds` lets one probe through.
    While only one subject's attempts fail and others' succeed, it is that subject that has trouble, not the
    peer: it stays closed.

    clock: seconds of any origin, never running backwards. on_transition: called with (old, new) at once; it
    must not raise.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        on_transition: Callable[[State, State], None],
        failures_min: int = 5,
        failure_ratio: float = 0.5,
        window_seconds: float = 10.0,
        open_seconds: float = 1.5,
    ) -> None:
        self._clock = clock
        self._on_transition = on_transition
        self._failures_min = failures_min
        self._failure_ratio = failure_ratio
        self._window_seconds = window_seconds
        self._open_seconds = open_seconds
        self._state = State.CLOSED
        self._generation = 0
        self._opened_at = 0.0
        self._probing = False
        self._verdicts: deque[tuple[float, bool, Hashable]] = deque()
        self._failures = 0

    @property
    def state(self) -> State:
        """As of the last call: an open breaker becomes half-open when the next caller arrives."""
        return self._state

    @contextmanager
    def attempt(self, subject: Hashable = None) -> Iterator[Attempt]:
        """Guard one attempt at calling the peer. Raises CircuitOpenError instead of letting it through.

        subject: whose call it is; None: anybody's.
        """
        if self._state is State.OPEN:
            wait_seconds = self._open_seconds - (self._clock() - self._opened_at)
            if wait_seconds > 0:
                raise CircuitOpenError(wait_seconds)
            self._become(State.HALF_OPEN)
        if self._state is State.HALF_OPEN:
            if self._probing:
                raise CircuitOpenError(0.0)
            self._probing = True
        attempt = Attempt(self._generation, subject=subject)
        try:
            yield attempt
        finally:
            # An attempt of an older generation judges a peer that is no longer the question.
            if attempt.generation == self._generation:
                self._settle(attempt.outcome, attempt.subject)

    def _settle(self, outcome: Outcome, subject: Hashable) -> None:
        if self._state is State.HALF_OPEN:
            self._probing = False
            if outcome is not Outcome.NEUTRAL:
                self._become(State.CLOSED if outcome is Outcome.OK else State.OPEN)
            if outcome is Outcome.OK and subject is not None:
                # Else one subject's failures could open it again before anybody else calls.
                self._count(failed=False, subject=subject)
        elif outcome is not Outcome.NEUTRAL:
            self._count(failed=outcome is Outcome.FAIL, subject=subject)
            enough = self._failures >= self._failures_min
            is_share = self._failures >= self._failure_ratio * len(self._verdicts)
            if enough and is_share and not self._is_one_subjects_trouble():
                self._become(State.OPEN)

    def _is_one_subjects_trouble(self) -> bool:
        failing = {subject for _, failed, subject in self._verdicts if failed}
        served = {subject for _, failed, subject in self._verdicts if not failed}
        return len(failing) == 1 and None not in failing and bool(served - failing)

    def _count(self, *, failed: bool, subject: Hashable) -> None:
        now = self._clock()
        self._verdicts.append((now, failed, subject))
        self._failures += failed
        while self._verdicts[0][0] <= now - self._window_seconds:
            self._failures -= self._verdicts.popleft()[1]

    def _become(self, state: State) -> None:
        old, self._state = self._state, state
        self._generation += 1
        self._probing = False
        self._verdicts.clear()
        self._failures = 0
        if state is State.OPEN:
            self._opened_at = self._clock()
        self._on_transition(old, state)
