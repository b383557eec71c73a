"""One refresh for each expired grant, however many callers want it at once, and an answer for all of them."""

from loadtests.judge.limits import Limit, p99, ratio
from loadtests.judge.run import Run
from loadtests.scenarios import SYNC, Scenario
from loadtests.traffic.phases import Phase

GRANTS = 10
CALLERS_A_GRANT = 4
"""Together as many as two replicas admit to the calendar at a time (`CALENDAR_IN_FLIGHT_MAX`, 20 each)."""
ROUNDS = tuple(f"round {number}" for number in range(1, 6))


def phases(_rate: float, _replicas: int) -> tuple[Phase, ...]:
    return (
        Phase("calm", 4, {SYNC: 1.0}, breaks=("rotation strict",)),
        *(
            Phase(
                name,
                8,
                at_once={SYNC: GRANTS * CALLERS_A_GRANT},
                at_once_after=3,
                breaks=("rotation strict", "expire"),
                retries=3,
                heeds_retry_after=True,
            )
            for name in ROUNDS
        ),
    )


def judge(run: Run) -> list[Limit]:
    callers = [one for one in run.samples if one.is_at_once and one.attempt == 0]
    # One that was refused asks again when the answer says to.
    good = sum(one.is_good for one in run.samples if one.is_at_once)
    seen = [run.judged[name] for name in ROUNDS]
    calls, grants = (sum(one[count] for one in seen) for count in ("token_calls", "grants"))
    return [
        Limit("provider calls a grant", ratio(calls, grants), most=1, least=1),
        Limit("refresh tokens used twice", sum(one["reuse_seen"] for one in seen), most=0),
        Limit("callers without an answer of success", len(callers) - good, most=0),
        Limit("callers served", good, f"of {len(callers)}"),
        Limit("callers refused at first", sum(one.is_refused for one in callers)),
        Limit("p99 of a caller", p99(callers), "s"),
    ]


SCENARIO = Scenario(
    "oauth_refresh",
    "callers released at once on grants just expired",
    phases,
    judge,
    is_refereed=True,
)
