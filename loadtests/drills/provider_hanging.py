"""The provider takes connections and does not answer: timeouts, then the breaker."""

from loadtests.drills.runner.drill import Drill
from loadtests.faults.provider import provider

DRILL = Drill(
    name="provider_hanging",
    what="Both endpoints of the provider hang for a minute.",
    breaks=(
        provider(
            "the provider hangs",
            token={"mode": "hang", "seconds": 60.0},
            calendar={"mode": "hang", "seconds": 60.0},
        ),
    ),
    expects=("CalendarProviderDown",),
    deadline_seconds=210,
    also=frozenset({"ApiErrorBudgetBurn", "ApiLatencyBudgetBurn"}),
)
