"""One error in an hour of ten requests is 10 % and no reason to wake anybody."""

from loadtests.faults.database import sql
from loadtests.judge.drill import Drill
from loadtests.world.description import DEMO

DRILL = Drill(
    name="low_traffic_one_error",
    what="A request in five minutes on each route, and four seconds of a locked table: silent.",
    rates=dict.fromkeys(DEMO.steady_mix, 0.003),
    breaks=(
        sql(
            "the profiles are locked for four seconds",
            "BEGIN; LOCK TABLE profiles IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep(4); COMMIT",
        ),
    ),
    expects=(),
    deadline_seconds=0,
    holds_seconds=240,
)
