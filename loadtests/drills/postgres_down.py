"""PostgreSQL is gone: its port refuses."""

from loadtests.faults.process import kill
from loadtests.judge.drill import Drill

DRILL = Drill(
    name="postgres_down",
    what="PostgreSQL is killed, as the kernel does when memory runs out.",
    breaks=(kill("postgres"),),
    expects=("PostgresDown",),
    deadline_seconds=55,
    also=frozenset({"ApiProbeFailing", "ApiErrorBudgetBurn", "TargetDown"}),
    # Longer than what is held back after the cause: a symptom that comes then is seen.
    watch_after_seconds=240,
)
