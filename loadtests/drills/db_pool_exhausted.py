"""A forgotten transaction locks the profiles: their requests hold every connection while they wait."""

from loadtests.faults.database import lock
from loadtests.judge.drill import Drill

DRILL = Drill(
    name="db_pool_exhausted",
    what="A second connection holds ACCESS EXCLUSIVE on the profiles under steady load.",
    # 0.5 s of lock_timeout on each of these is more than ten connections: the pool is the bottleneck.
    rates={"GET /api/v1/profile": 25.0},
    breaks=(lock("profiles"),),
    expects=("DbPoolExhausted",),
    deadline_seconds=55,
    also=frozenset({"ApiProbeFailing", "ApiErrorBudgetBurn"}),
)
