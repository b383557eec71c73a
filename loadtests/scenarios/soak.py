"""What an hour shows and a minute does not: memory that grows."""

from loadtests.judge.limits import Limit
from loadtests.judge.run import Run
from loadtests.scenarios import CAPACITY_OF_RATE, Scenario, steady, steady_mix
from loadtests.traffic.phases import Phase


def phases(rate: float, _replicas: int) -> tuple[Phase, ...]:
    load = steady_mix(rate * CAPACITY_OF_RATE * 0.7)
    return tuple(Phase(f"part {number}", 450, load) for number in range(1, 9))


def judge(run: Run) -> list[Limit]:
    limits = steady.judge(run)
    if len(run.resident_bytes) > 2:
        growth = run.resident_bytes[-1] / run.resident_bytes[1]
        limits.append(Limit("memory, last to second part", growth, "x", most=1.1))
    return limits


SCENARIO = Scenario(
    "soak",
    "an hour at 70 % of the capacity",
    phases,
    judge,
    watches_memory=True,
    is_general=True,
)
