"""Statements run into their limits, while there are connections enough: not the pool's fault."""

from loadtests.faults.database import lock
from loadtests.judge.drill import Drill

DRILL = Drill(
    name="db_queries_slow",
    # Ten requests a second of 0.5 s each: half of the ten connections.
    what="The settings are locked under a load that leaves half of the pool free.",
    breaks=(lock("settings"),),
    expects=("DbQueriesTimingOut",),
    deadline_seconds=75,
    also=frozenset({"ApiProbeFailing", "ApiErrorBudgetBurn"}),
)
