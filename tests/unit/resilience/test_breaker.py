import os
from asyncio import CancelledError
from contextlib import AbstractContextManager

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from firedrill_kit.resilience.breaker import Attempt, Breaker, CircuitOpenError, Outcome, State

FAILURES_MIN, WINDOW_SECONDS, OPEN_SECONDS = 3, 10.0, 2.0

STEPS = int(os.environ.get("BREAKER_STEPS", "400"))
SEEDS = int(os.environ.get("BREAKER_SEEDS", "2"))
"""The full run: `BREAKER_STEPS=10000 BREAKER_SEEDS=20 pytest tests/unit/resilience/test_breaker.py`."""


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Watched:
    """A breaker with its clock and the transitions it reported."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.transitions: list[tuple[State, State]] = []
        self.breaker = Breaker(
            clock=self.clock,
            on_transition=lambda old, new: self.transitions.append((old, new)),
            failures_min=FAILURES_MIN,
            window_seconds=WINDOW_SECONDS,
            open_seconds=OPEN_SECONDS,
        )

    def attempt(self, outcome: Outcome) -> None:
        with self.breaker.attempt() as attempt:
            attempt.outcome = outcome

    def open(self) -> None:
        for _ in range(FAILURES_MIN):
            self.attempt(Outcome.FAIL)
        assert self.breaker.state is State.OPEN


def test_it_opens_when_enough_attempts_fail_and_refuses_without_calling() -> None:
    watched = Watched()

    for _ in range(FAILURES_MIN):
        assert watched.breaker.state is State.CLOSED
        watched.attempt(Outcome.FAIL)

    assert watched.transitions == [(State.CLOSED, State.OPEN)]
    with pytest.raises(CircuitOpenError) as refusal, watched.breaker.attempt():
        pytest.fail("the call was made")
    assert refusal.value.retry_after_seconds == OPEN_SECONDS


def test_failures_that_are_fewer_than_the_successes_keep_it_closed() -> None:
    watched = Watched()

    for _ in range(50):
        for outcome in (Outcome.OK, Outcome.OK, Outcome.FAIL):
            watched.attempt(outcome)

    assert watched.breaker.state is State.CLOSED


def test_failures_older_than_the_window_do_not_count() -> None:
    watched = Watched()

    for _ in range(20):
        watched.attempt(Outcome.FAIL)
        watched.clock.now += WINDOW_SECONDS / (FAILURES_MIN - 1)

    assert watched.breaker.state is State.CLOSED


def test_cancellations_and_refused_requests_are_neutral() -> None:
    watched = Watched()

    for _ in range(50):
        watched.attempt(Outcome.NEUTRAL)
        with pytest.raises(CancelledError), watched.breaker.attempt():
            raise CancelledError

    assert watched.breaker.state is State.CLOSED


def test_half_open_lets_one_of_fifty_callers_through() -> None:
    watched = Watched()
    watched.open()
    watched.clock.now += OPEN_SECONDS

    let_through: list[AbstractContextManager[Attempt]] = []
    for _ in range(50):
        caller = watched.breaker.attempt()
        try:
            caller.__enter__()
        except CircuitOpenError:
            continue
        let_through.append(caller)

    assert len(let_through) == 1
    let_through[0].__exit__(None, None, None)


@pytest.mark.parametrize(
    ("verdict", "state"), [(Outcome.OK, State.CLOSED), (Outcome.FAIL, State.OPEN)]
)
def test_the_probe_decides(verdict: Outcome, state: State) -> None:
    watched = Watched()
    watched.open()
    watched.clock.now += OPEN_SECONDS

    watched.attempt(verdict)

    assert watched.breaker.state is state
    assert watched.transitions[-1] == (State.HALF_OPEN, state)


def test_a_cancelled_probe_gives_its_place_to_the_next_caller() -> None:
    watched = Watched()
    watched.open()
    watched.clock.now += OPEN_SECONDS

    with pytest.raises(CancelledError), watched.breaker.attempt():
        raise CancelledError
    watched.attempt(Outcome.OK)

    assert watched.breaker.state is State.CLOSED


def test_results_of_an_older_state_are_ignored() -> None:
    watched = Watched()
    slow_success, slow_failure = watched.breaker.attempt(), watched.breaker.attempt()
    slow_success.__enter__().outcome = Outcome.OK
    slow_failure.__enter__().outcome = Outcome.FAIL
    watched.open()
    watched.clock.now += OPEN_SECONDS
    probe = watched.breaker.attempt()
    probe.__enter__().outcome = Outcome.OK

    slow_success.__exit__(None, None, None)
    slow_failure.__exit__(None, None, None)

    assert watched.transitions[-1] == (State.OPEN, State.HALF_OPEN)
    probe.__exit__(None, None, None)
    assert watched.transitions[-1] == (State.HALF_OPEN, State.CLOSED)


def attempt_of(watched: Watched, subject: str, outcome: Outcome) -> None:
    with watched.breaker.attempt(subject) as attempt:
        attempt.outcome = outcome


def test_one_subjects_failures_do_not_open_it_while_others_are_served() -> None:
    watched = Watched()
    attempt_of(watched, "honest", Outcome.OK)

    for _ in range(100):
        attempt_of(watched, "odd", Outcome.FAIL)

    assert watched.transitions == []
    attempt_of(watched, "another", Outcome.FAIL)
    assert watched.breaker.state is State.OPEN


def test_one_subjects_failures_open_it_when_nobody_is_served() -> None:
    watched = Watched()
    attempt_of(watched, "alone", Outcome.OK)

    for _ in range(FAILURES_MIN):
        attempt_of(watched, "alone", Outcome.FAIL)

    assert watched.breaker.state is State.OPEN


def test_after_anothers_good_probe_one_subject_does_not_open_it_again() -> None:
    watched = Watched()
    for _ in range(FAILURES_MIN):
        attempt_of(watched, "odd", Outcome.FAIL)
    watched.clock.now += OPEN_SECONDS
    attempt_of(watched, "honest", Outcome.OK)

    for _ in range(FAILURES_MIN):
        attempt_of(watched, "odd", Outcome.FAIL)

    assert watched.breaker.state is State.CLOSED


class BreakerMachine(RuleBasedStateMachine):
    """Random callers, verdicts and times against a model that keeps the whole history."""

    steps = 0

    @initialize()
    def start(self) -> None:
        self.watched = Watched()
        self.running: list[tuple[AbstractContextManager[Attempt], Attempt, int]] = []
        self.state = State.CLOSED
        self.era = 0
        """Counts the model's transitions: what began in an older era has no say."""
        self.opened_at = 0.0
        self.verdicts: list[tuple[float, bool]] = []

    def _become(self, state: State) -> None:
        self.state = state
        self.era += 1
        self.verdicts = []
        if state is State.OPEN:
            self.opened_at = self.watched.clock.now

    def _probes(self) -> int:
        return sum(era == self.era for _, _, era in self.running)

    @precondition(lambda self: len(self.running) < 12)
    @rule()
    def call(self) -> None:
        due = self.watched.clock.now - self.opened_at >= OPEN_SECONDS
        if self.state is State.OPEN and due:
            self._become(State.HALF_OPEN)
        refused = self.state is State.OPEN or (
            self.state is State.HALF_OPEN and self._probes() > 0
        )
        caller = self.watched.breaker.attempt()
        if refused:
            with pytest.raises(CircuitOpenError) as refusal:
                caller.__enter__()
            assert 0 <= refusal.value.retry_after_seconds <= OPEN_SECONDS
        else:
            self.running.append((caller, caller.__enter__(), self.era))

    @precondition(lambda self: self.running)
    @rule(data=st.data(), outcome=st.sampled_from(Outcome), raises=st.booleans())
    def end(self, data: st.DataObject, outcome: Outcome, raises: bool) -> None:
        index = data.draw(st.integers(0, len(self.running) - 1))
        caller, attempt, era = self.running.pop(index)
        if raises:
            error = CancelledError()
            assert not caller.__exit__(type(error), error, None), "it swallows nothing"
            return
        attempt.outcome = outcome
        caller.__exit__(None, None, None)
        if era != self.era or outcome is Outcome.NEUTRAL:
            return
        if self.state is State.HALF_OPEN:
            self._become(State.CLOSED if outcome is Outcome.OK else State.OPEN)
            return
        now = self.watched.clock.now
        self.verdicts.append((now, outcome is Outcome.FAIL))
        recent = [failed for at, failed in self.verdicts if at > now - WINDOW_SECONDS]
        if sum(recent) >= FAILURES_MIN and sum(recent) * 2 >= len(recent):
            self._become(State.OPEN)

    # Binary fractions, so that model and breaker cannot differ by rounding.
    @rule(seconds=st.sampled_from([0.0, 0.125, 1.0, OPEN_SECONDS, 4.0, WINDOW_SECONDS]))
    def wait(self, seconds: float) -> None:
        self.watched.clock.now += seconds

    @invariant()
    def agrees_with_the_model(self) -> None:
        BreakerMachine.steps += 1
        assert self.watched.breaker.state is self.state
        assert len(self.watched.transitions) == self.era
        if self.state is State.HALF_OPEN:
            assert self._probes() <= 1

    def teardown(self) -> None:
        """It is never stuck: whatever happened, two good callers close it again."""
        for caller, _, _ in self.running:
            caller.__exit__(None, None, None)
        self.watched.clock.now += WINDOW_SECONDS + OPEN_SECONDS
        for _ in range(2):
            self.watched.attempt(Outcome.OK)
        assert self.watched.breaker.state is State.CLOSED


@pytest.mark.parametrize("seed", range(SEEDS))
def test_it_does_what_the_model_does_whatever_the_order(seed: int) -> None:
    steps_per_run = 100
    configuration = settings(
        max_examples=max(1, 2 * STEPS // steps_per_run),  # some runs end early
        stateful_step_count=steps_per_run,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    BreakerMachine._hypothesis_internal_use_seed = seed
    BreakerMachine.steps = 0
    run_state_machine_as_test(BreakerMachine, settings=configuration)

    assert BreakerMachine.steps >= STEPS
