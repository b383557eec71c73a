"""The first fault is mended and its symptoms are held back: another one must ring all the same."""

from dataclasses import replace

from loadtests.drills.unhandled_exception import RAISING
from loadtests.faults.database import lock
from loadtests.judge.drill import Drill

DRILL = Drill(
    name="second_fault_while_recovering",
    what="The profiles are locked for a minute; a minute and a half later writes of settings are 500.",
    rates={"GET /api/v1/profile": 25.0, "PUT /api/v1/settings": 6.0},
    breaks=(
        replace(lock("profiles"), lasts_seconds=60),
        # Within the three minutes in which the symptoms of the first are held back.
        replace(RAISING, after_seconds=150),
    ),
    expects=("DbPoolExhausted", "ApiErrorBudgetBurn"),
    deadline_seconds=120,
    resolve_seconds=360,
    also=frozenset({"ApiProbeFailing"}),
)
