"""Ten times as much as usual: as much is served as at full capacity, and all is well again soon after."""

from loadtests.judge.limits import Limit
from loadtests.judge.run import Run, recovered, still_served
from loadtests.scenarios import CAPACITY_OF_RATE, Scenario, steady_mix
from loadtests.traffic.phases import Phase


def phases(rate: float, _replicas: int) -> tuple[Phase, ...]:
    return (
        Phase("full", 20, steady_mix(rate * CAPACITY_OF_RATE)),
        Phase("calm", 10, steady_mix(rate)),
        Phase("spike", 30, steady_mix(rate * 10)),
        Phase("after", 15, steady_mix(rate)),
    )


def judge(run: Run) -> list[Limit]:
    return [still_served(run, "spike"), recovered(run, "after")]


SCENARIO = Scenario(
    "spike", "ten times the load for half a minute", phases, judge, is_general=True
)
