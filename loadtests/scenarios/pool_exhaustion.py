"""What needs no connection goes on, what gets none is refused at once, and all is well again soon after."""

from collections import Counter

from loadtests.judge.limits import Limit, p99, ratio
from loadtests.judge.run import Run, beyond_deadline, recovered, slower
from loadtests.scenarios import (
    CAPACITY_OF_RATE,
    OVERLOAD,
    PROFILE,
    SYNC,
    UNRELATED,
    Scenario,
    steady_mix,
)
from loadtests.traffic.phases import Phase
from loadtests.world.description import SERVED

REFUSED_SECONDS_MAX = 0.35
"""p99 of a 503 for want of a connection or a place: the pool's 0.25 s, and a tenth for the rest."""


def phases(rate: float, replicas: int) -> tuple[Phase, ...]:
    return _phases_of_demo(rate, replicas) if SERVED.is_demo else _phases_of_any(rate)


def _phases_of_any(rate: float) -> tuple[Phase, ...]:
    """A minute of what the first [[drill]] with a lock does; how much is too much only the demo knows."""
    table, load = SERVED.lock
    held = {**steady_mix(rate), **load}
    if UNRELATED:
        held[UNRELATED] = 20.0
    return (
        Phase("calm", 20, held),
        Phase("hold", 60, held, breaks=(f"lock {table}",)),
        Phase("after hold", 60, held),
    )


def _phases_of_demo(rate: float, replicas: int) -> tuple[Phase, ...]:
    calm = steady_mix(rate) | {UNRELATED: 20.0}
    # 0.5 s of lock_timeout on each of these is more than the ten connections that a replica has.
    held = calm | {PROFILE: 25.0 * replicas}
    return (
        Phase("calm", 20, held),
        Phase("hold", 20, held, breaks=("lock profiles",)),
        Phase("after hold", 15, held),
        Phase("surge", 15, steady_mix(rate * CAPACITY_OF_RATE * OVERLOAD)),
        Phase("after surge", 15, held),
    )


def judge(run: Run) -> list[Limit]:
    return _judge_demo(run) if SERVED.is_demo else _judge_any(run)


def _judge_any(run: Run) -> list[Limit]:
    unrelated = [slower(run, "p99 of unrelated", UNRELATED, during="hold")] if UNRELATED else []
    return [
        *unrelated,
        recovered(run, "after hold", "recovery after hold"),
        beyond_deadline(run),
    ]


def _judge_demo(run: Run) -> list[Limit]:
    held, surge = run.of("hold"), run.of("surge")
    codes = Counter(one.code for one in held if one.code)
    refusals = [one for one in held + surge if one.code in {"db_pool_exhausted", "overloaded"}]
    refused = [one for one in refusals if one.route != SYNC]
    # A sync gives its connection back before it calls the provider, and may be refused the next one.
    refused_later = [one for one in refusals if one.route == SYNC]
    waited = [one for one in held if one.code == "db_lock_timeout"]
    shared = [one for one in held if one.route not in {PROFILE, "PUT /api/v1/profile", UNRELATED}]
    routes = {one.route for one in shared}
    shared_calm = [one for one in run.of("calm") if one.route in routes]
    return [
        Limit("db_pool_exhausted in hold", codes.pop("db_pool_exhausted", 0), least=1),
        *(Limit(f"{code} in hold", count) for code, count in codes.items()),
        Limit("p99 of a refusal", p99(refused), "s", most=REFUSED_SECONDS_MAX),
        Limit("p99 of a refusal of a sync", p99(refused_later), "s"),
        # A request that has a connection waits for the lock as long as `lock_timeout` lets it.
        Limit("p99 of db_lock_timeout", p99(waited), "s"),
        slower(run, "p99 of unrelated", UNRELATED, during="hold"),
        Limit("p99 of others in the pool", ratio(p99(shared), p99(shared_calm)), "x calm"),
        recovered(run, "after hold", "recovery after hold"),
        recovered(run, "after surge", "recovery after surge"),
        beyond_deadline(run),
    ]


SCENARIO = Scenario(
    "pool_exhaustion",
    "a locked table holds every connection; then three times the capacity"
    if SERVED.is_demo
    else "a locked table holds every connection, as the first [[drill]] with a lock says",
    phases,
    judge,
    is_general=True,
)
