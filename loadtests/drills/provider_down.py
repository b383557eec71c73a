"""The provider answers 503 to everything; the breaker opens and keeps the calls back."""

from loadtests.faults.provider import provider
from loadtests.judge.drill import Drill

DRILL = Drill(
    name="provider_down",
    what="Both endpoints of the provider answer 503, until the page has been held for a minute.",
    breaks=(
        provider(
            "the provider answers 503", token={"mode": "error_503"}, calendar={"mode": "error_503"}
        ),
    ),
    expects=("CalendarProviderDown",),
    deadline_seconds=130,
    # Until after the breaker has opened: the page must be held although no call reaches the provider.
    holds_seconds=240,
    also=frozenset({"ApiErrorBudgetBurn"}),
)
