"""One client sends what the contract never had: it alone is refused, and the service names it."""

from loadtests.judge.limits import Limit
from loadtests.judge.run import Run
from loadtests.scenarios import Scenario, steady_mix
from loadtests.traffic.phases import Phase
from loadtests.world.description import DEMO, Release

BROKEN_VERSION = DEMO.versions[-1]
RELEASE = Release(
    # One field renamed, one missing.
    bodies={
        "PUT /api/v1/profile": {"displayName": "Demo User", "time_zone": "Europe/Berlin"},
        "PUT /api/v1/settings": {"theme": "dark", "ai_models": {"default": "small"}},
    },
    versions=frozenset({BROKEN_VERSION}),
)


def phases(rate: float, _replicas: int) -> tuple[Phase, ...]:
    load = steady_mix(rate)
    return (Phase("calm", 20, load), Phase("broken", 30, load, release=RELEASE))


def judge(run: Run) -> list[Limit]:
    refused = [one for one in run.samples if one.status == 422]
    others = sum(one.version != BROKEN_VERSION for one in refused)
    limits = [
        Limit("422 seen", len(refused), least=1),
        Limit("422 of sound versions", others, most=0),
    ]
    if run.metrics:
        named = run.metrics[f"422 of {BROKEN_VERSION}"]
        limits += [
            Limit("422 under its version", named, least=len(refused), most=len(refused)),
            Limit("fields named", run.metrics["validation_errors"], least=len(refused)),
        ]
    return limits


SCENARIO = Scenario("bad_client", "one client version breaks its bodies", phases, judge)
