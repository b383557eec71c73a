"""Nothing is broken: what the service promises on an ordinary day."""

from loadtests.judge.limits import Limit, p99
from loadtests.judge.run import Run, beyond_deadline
from loadtests.scenarios import Scenario, steady_mix
from loadtests.traffic.phases import Phase


def phases(rate: float, _replicas: int) -> tuple[Phase, ...]:
    return (Phase("steady", 300, steady_mix(rate)),)


def judge(run: Run) -> list[Limit]:
    failed = sum(one.is_failed for one in run.samples) / len(run.samples)
    reads = [one for one in run.samples if one.route.startswith("GET")]
    return [
        Limit("failed requests", failed * 100, "%", most=0.1),
        Limit("p99 of reads", p99(reads), "s", most=0.5),
        beyond_deadline(run),
    ]


SCENARIO = Scenario(
    "steady",
    "constant arrivals on all routes at half of the capacity",
    phases,
    judge,
    is_general=True,
)
