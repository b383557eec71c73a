"""A provider that answers nothing slows down who asks for the calendar, and nobody else."""

from loadtests.judge.limits import Limit, p99
from loadtests.judge.run import Run, beyond_deadline, slower
from loadtests.scenarios import PROFILE, SYNC, Scenario, steady_mix
from loadtests.traffic.phases import Phase


def phases(rate: float, _replicas: int) -> tuple[Phase, ...]:
    load = steady_mix(rate) | {PROFILE: 20.0, SYNC: 5.0}
    return (
        Phase("calm", 20, load),
        Phase("slow", 40, load, breaks=("provider hang",)),
        Phase("after", 20, load),
    )


def judge(run: Run) -> list[Limit]:
    return [
        slower(run, "p99 of the profile", PROFILE, during="slow", most=1.5),
        Limit("p99 of a sync", p99(run.of("slow", SYNC)), "s"),
        beyond_deadline(run),
    ]


SCENARIO = Scenario("provider_slow", "the provider hangs under calendar traffic", phases, judge)
