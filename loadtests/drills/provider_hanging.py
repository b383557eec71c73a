"""The provider takes connections and does not answer: timeouts, then the breaker."""

from loadtests.faults.provider import provider
from loadtests.judge.drill import Drill

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
