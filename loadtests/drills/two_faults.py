"""A second fault while the first is being looked at: it must ring too, and neither hides the other."""

from dataclasses import replace

from loadtests.faults.database import lock
from loadtests.faults.provider import provider
from loadtests.judge.drill import Drill

DRILL = Drill(
    name="two_faults",
    what="The provider answers 503, and a minute later the profiles are locked: two pages.",
    rates={"GET /api/v1/profile": 25.0},
    breaks=(
        provider(
            "the provider answers 503", token={"mode": "error_503"}, calendar={"mode": "error_503"}
        ),
        replace(lock("profiles"), after_seconds=60),
    ),
    expects=("CalendarProviderDown", "DbPoolExhausted"),
    deadline_seconds=210,
    also=frozenset({"ApiErrorBudgetBurn", "ApiProbeFailing"}),
    # Longer than what is held back after the cause: a symptom that comes then is seen.
    watch_after_seconds=240,
)
