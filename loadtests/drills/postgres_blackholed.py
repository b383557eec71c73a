"""Connections stay open and nothing moves: no connect fails, every statement hangs."""

from loadtests.faults.process import freeze
from loadtests.judge.drill import Drill

DRILL = Drill(
    name="postgres_blackholed",
    what="PostgreSQL and all its processes are stopped (SIGSTOP): sockets open, no answer.",
    breaks=(freeze("postgres"),),
    expects=("PostgresDown",),
    deadline_seconds=55,
    also=frozenset({"ApiProbeFailing", "ApiErrorBudgetBurn", "TargetDown"}),
    # Longer than what is held back after the cause: a symptom that comes then is seen.
    watch_after_seconds=240,
)
