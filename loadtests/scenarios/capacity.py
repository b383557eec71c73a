"""How much one can plan with on the machine at hand; `make load RATE` takes half of it."""

from loadtests.judge.limits import Limit, p99
from loadtests.judge.run import Run
from loadtests.scenarios import Scenario, steady_mix
from loadtests.traffic.phases import Phase

STEPS = (0.5, 1, 1.5, 2, 2.5, 3, 4, 5, 6.5, 8, 10)
"""Times the rate."""


def phases(rate: float, _replicas: int) -> tuple[Phase, ...]:
    return tuple(
        Phase(f"{rate * factor:.0f}/s", 10, steady_mix(rate * factor)) for factor in STEPS
    )


def judge(run: Run) -> list[Limit]:
    best = run.phases[run.best].name
    steps = [Limit(f"served at {one.name}", run.goodput(one.name), "/s") for one in run.phases]
    return [
        *(step for step in steps if step.figure),
        Limit("capacity", run.goodput(best), "/s"),
        Limit("p99 there", p99(one for one in run.of(best) if one.is_good), "s"),
    ]


SCENARIO = Scenario(
    "capacity",
    "arrivals rise until no more is served; prints the figure to plan with",
    phases,
    judge,
    stops_when_full=True,
    is_general=True,
)
