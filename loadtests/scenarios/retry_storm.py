"""Callers that do not take no for an answer must not take the capacity from each other."""

from loadtests.judge.limits import Limit
from loadtests.judge.run import Run, recovered, still_served
from loadtests.scenarios import CAPACITY_OF_RATE, OVERLOAD, Scenario, steady_mix
from loadtests.traffic.phases import Phase


def phases(rate: float, _replicas: int) -> tuple[Phase, ...]:
    full = rate * CAPACITY_OF_RATE
    return (
        Phase("full", 20, steady_mix(full)),
        Phase("storm", 20, steady_mix(full * OVERLOAD), retries=3),
        Phase("after", 15, steady_mix(rate)),
    )


def judge(run: Run) -> list[Limit]:
    return [still_served(run, "storm"), recovered(run, "after")]


SCENARIO = Scenario("retry_storm", "callers that ask again at once, three times", phases, judge)
