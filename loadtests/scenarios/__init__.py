"""What the load tests do: one file a scenario, its phases and beside them what it must show.

Rates are requests a second of all callers. `rate` is the sum that the steady mix is scaled to: by default
`launch.RATE`, half of the capacity.
"""

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from loadtests.judge.limits import Limit
from loadtests.judge.run import Run
from loadtests.traffic.phases import Phase, scaled, stretched
from loadtests.world.description import SERVED

OVERLOAD = 3.0
"""Times the capacity: what `surge` and `storm` send."""
CAPACITY_OF_RATE = 2.0
"""The steady rate is half of the capacity."""
PROFILE = "GET /api/v1/profile"
SYNC = "POST /api/v1/calendar/sync/auto"
SIGN_IN = "POST /api/v1/auth/token"
UNRELATED = SERVED.unrelated
"""Needs no connection of the pool: what exhausts the pool must not touch it."""


@dataclass(frozen=True)
class Scenario:
    """phases: of a rate and a number of replicas. judge: every limit, held or broken.

    stops_when_full: ends after the first phase that serves no more than the best. is_refereed: the
    provider's judge is asked about each phase. watches_memory: so is the service about its own. is_general:
    it asks for nothing that the demo alone has.
    """

    name: str
    what: str
    phases: Callable[[float, int], tuple[Phase, ...]]
    judge: Callable[[Run], list[Limit]]
    stops_when_full: bool = False
    is_refereed: bool = False
    watches_memory: bool = False
    is_general: bool = False

    def at(self, rate: float, seconds: float | None, *, replicas: int = 1) -> tuple[Phase, ...]:
        """The phases at a rate (requests a second), stretched to a length if one is given."""
        phases = self.phases(rate, replicas)
        return phases if seconds is None else stretched(phases, seconds)


def steady_mix(rate: float) -> dict[str, float]:
    """The mix of all routes that use nothing up, so many requests a second in all."""
    return scaled(SERVED.steady_mix, rate)


def _catalogue() -> dict[str, Scenario]:
    """Every scenario by name."""
    modules = [
        importlib.import_module(f"{__name__}.{one.name}") for one in pkgutil.iter_modules(__path__)
    ]
    return {module.SCENARIO.name: module.SCENARIO for module in modules}


ALL: Mapping[str, Scenario] = _catalogue()
SCENARIOS: Mapping[str, Scenario] = {
    name: one for name, one in ALL.items() if SERVED.is_demo or one.is_general
}
"""The scenarios that can be run on the service at hand."""
