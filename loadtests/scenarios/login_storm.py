"""Hashing passwords takes a processor: sign-ins must leave enough of it to those who are signed in."""

from loadtests.judge.limits import Limit
from loadtests.judge.run import Run, slower
from loadtests.scenarios import PROFILE, SIGN_IN, Scenario, steady_mix
from loadtests.traffic.phases import Phase


def phases(rate: float, _replicas: int) -> tuple[Phase, ...]:
    calm = steady_mix(rate) | {PROFILE: 20.0}
    return (
        Phase("calm", 20, calm | {SIGN_IN: 2.0}),
        Phase("storm", 20, calm | {SIGN_IN: 10.0}),
        Phase("after", 10, calm | {SIGN_IN: 2.0}),
    )


def judge(run: Run) -> list[Limit]:
    return [slower(run, "p99 of the profile", PROFILE, during="storm")]


SCENARIO = Scenario("login_storm", "sign-ins at five times the usual rate", phases, judge)
