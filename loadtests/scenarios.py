"""What the load tests do. Every scenario is data; `limits` says what it must show.

Rates are requests a second of all callers. `rate` is the sum that the steady mix is scaled to: by default
40, about half of what one replica on one core serves with everything measured; the scenario `capacity`
prints the figure of the machine at hand, and RATE takes half of it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from loadtests.traffic.phases import Phase, scaled, stretched
from loadtests.world.description import DEMO

RATE = 40.0
OVERLOAD = 3.0
"""Of the capacity: what `surge` and `retry_storm` send."""
CAPACITY_OF_RATE = 2.0
"""The steady rate is half of the capacity."""

STEADY: Mapping[str, float] = DEMO.steady_mix
PROFILE = "GET /api/v1/profile"
SYNC = "POST /api/v1/calendar/sync/auto"
SIGN_IN = "POST /api/v1/auth/token"
UNRELATED = "GET /problems/{code}"
"""Needs no connection of the pool: what exhausts the pool must not touch it."""

GRANTS = 10
CALLERS_A_GRANT = 4
"""Together as many as two replicas admit to the calendar at a time (`CALENDAR_IN_FLIGHT_MAX`, 20 each)."""
ROUNDS = 5

BROKEN_VERSION = "ios/3.2.0"
BROKEN_BODIES: Mapping[str, object] = {
    # One field renamed, one missing: what a broken release sends.
    "PUT /api/v1/profile": {"displayName": "Demo User", "time_zone": "Europe/Berlin"},
    "PUT /api/v1/settings": {"theme": "dark", "ai_models": {"default": "small"}},
}


@dataclass(frozen=True)
class Scenario:
    """phases: of a rate. stops_when_full: ends after the first phase that serves no more than the best.

    is_refereed: the provider's judge is asked about each phase. watches_memory: so is the service.
    is_of_replicas: its phases are of a rate and the number of replicas.
    """

    name: str
    what: str
    phases: Callable[..., tuple[Phase, ...]]
    stops_when_full: bool = False
    is_refereed: bool = False
    watches_memory: bool = False
    is_of_replicas: bool = False

    def at(self, rate: float, seconds: float | None, *, replicas: int = 1) -> tuple[Phase, ...]:
        """The phases at a rate (requests a second), stretched to a length if one is given."""
        phases = self.phases(rate, replicas) if self.is_of_replicas else self.phases(rate)
        return phases if seconds is None else stretched(phases, seconds)


def _steady(rate: float) -> tuple[Phase, ...]:
    return (Phase("steady", 300, scaled(STEADY, rate)),)


def _capacity(rate: float) -> tuple[Phase, ...]:
    return tuple(
        Phase(f"{rate * factor:.0f}/s", 10, scaled(STEADY, rate * factor))
        for factor in (0.5, 1, 1.5, 2, 2.5, 3, 4, 5, 6.5, 8, 10)
    )


def _pool_exhaustion(rate: float, replicas: int) -> tuple[Phase, ...]:
    calm = scaled(STEADY, rate) | {UNRELATED: 20.0}
    # 0.5 s of lock_timeout on each of these is more than the ten connections that a replica has.
    held = calm | {PROFILE: 25.0 * replicas}
    return (
        Phase("calm", 20, held),
        Phase("hold", 20, held, breaks=("lock profiles",)),
        Phase("after hold", 15, held),
        Phase("surge", 15, scaled(STEADY, rate * CAPACITY_OF_RATE * OVERLOAD)),
        Phase("after surge", 15, held),
    )


def _oauth_refresh(_rate: float) -> tuple[Phase, ...]:
    return (
        Phase("calm", 4, {SYNC: 1.0}, breaks=("rotation strict",)),
        *(
            Phase(
                f"round {number}",
                8,
                at_once={SYNC: GRANTS * CALLERS_A_GRANT},
                at_once_after=3,
                breaks=("rotation strict", "expire"),
                retries=3,
                heeds_retry_after=True,
            )
            for number in range(1, ROUNDS + 1)
        ),
    )


def _provider_slow(rate: float) -> tuple[Phase, ...]:
    load = scaled(STEADY, rate) | {PROFILE: 20.0, SYNC: 5.0}
    return (
        Phase("calm", 20, load),
        Phase("slow", 40, load, breaks=("provider hang",)),
        Phase("after", 20, load),
    )


def _retry_storm(rate: float) -> tuple[Phase, ...]:
    full = rate * CAPACITY_OF_RATE
    return (
        Phase("full", 20, scaled(STEADY, full)),
        Phase("storm", 20, scaled(STEADY, full * OVERLOAD), retries=3),
        Phase("after", 15, scaled(STEADY, rate)),
    )


def _login_storm(rate: float) -> tuple[Phase, ...]:
    calm = scaled(STEADY, rate) | {PROFILE: 20.0}
    return (
        Phase("calm", 20, calm | {SIGN_IN: 2.0}),
        Phase("storm", 20, calm | {SIGN_IN: 10.0}),
        Phase("after", 10, calm | {SIGN_IN: 2.0}),
    )


def _spike(rate: float) -> tuple[Phase, ...]:
    return (
        Phase("full", 20, scaled(STEADY, rate * CAPACITY_OF_RATE)),
        Phase("calm", 10, scaled(STEADY, rate)),
        Phase("spike", 30, scaled(STEADY, rate * 10)),
        Phase("after", 15, scaled(STEADY, rate)),
    )


def _soak(rate: float) -> tuple[Phase, ...]:
    load = scaled(STEADY, rate * CAPACITY_OF_RATE * 0.7)
    return tuple(Phase(f"part {number}", 450, load) for number in range(1, 9))


def _bad_client(rate: float) -> tuple[Phase, ...]:
    load = scaled(STEADY, rate)
    return (
        Phase("calm", 20, load),
        Phase("broken", 30, load, altered=BROKEN_BODIES, altered_version=BROKEN_VERSION),
    )


SCENARIOS: Mapping[str, Scenario] = {
    scenario.name: scenario
    for scenario in (
        Scenario("steady", "constant arrivals on all routes at half of the capacity", _steady),
        Scenario(
            "capacity",
            "arrivals rise until no more is served; prints the figure to plan with",
            _capacity,
            stops_when_full=True,
        ),
        Scenario(
            "pool_exhaustion",
            "a locked table holds every connection; then three times the capacity",
            _pool_exhaustion,
            is_of_replicas=True,
        ),
        Scenario(
            "oauth_refresh",
            "callers released at once on grants just expired",
            _oauth_refresh,
            is_refereed=True,
        ),
        Scenario("provider_slow", "the provider hangs under calendar traffic", _provider_slow),
        Scenario("retry_storm", "callers that ask again at once, three times", _retry_storm),
        Scenario("login_storm", "sign-ins at five times the usual rate", _login_storm),
        Scenario("spike", "ten times the load for half a minute", _spike),
        Scenario("soak", "an hour at 70 % of the capacity", _soak, watches_memory=True),
        Scenario("bad_client", "one client version breaks its bodies", _bad_client),
    )
}
