"""More arrives than can be answered, and nothing is broken that a rule could name."""

from loadtests.faults.provider import provider
from loadtests.judge.drill import Drill

DRILL = Drill(
    name="overload",
    what="The provider takes 2.5 s and callers want 16 syncs a second: twice what is admitted.",
    rates={"POST /api/v1/calendar/sync/auto": 16.0},
    breaks=(provider("the provider takes 2.5 s for each answer", calendar_latency_ms=2500),),
    expects=("ServiceOverloaded",),
    deadline_seconds=120,
    also=frozenset({"ApiErrorBudgetBurn", "ApiLatencyBudgetBurn"}),
)
