"""What is mended must not page again, although the long windows still see it."""

from loadtests.faults.database import lock
from loadtests.judge.drill import Drill

DRILL = Drill(
    name="mended_fault",
    what="Three minutes of a locked table, then five minutes in which nothing may page any more.",
    rates={"GET /api/v1/profile": 25.0},
    breaks=(lock("profiles"),),
    expects=("DbPoolExhausted",),
    deadline_seconds=55,
    holds_seconds=180,
    watch_after_seconds=300,
    also=frozenset({"ApiProbeFailing", "ApiErrorBudgetBurn"}),
)
