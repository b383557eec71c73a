"""Our contract changed: the name that every client version sends is no longer known."""

from loadtests.faults.client import alter
from loadtests.judge.drill import Drill

DRILL = Drill(
    name="validation_break_all_clients",
    what="Every client version sends the profile with a renamed field; reading still works.",
    breaks=(
        alter(
            "display_name is sent as displayName by all",
            {"PUT /api/v1/profile": {"displayName": "Demo User", "time_zone": "Europe/Berlin"}},
        ),
    ),
    expects=("ApiValidationBroken",),
    deadline_seconds=120,
    also=frozenset({"ApiValidationShift"}),
    evidence='sum(rate(http_request_validation_errors_total{http_route="/api/v1/profile"}[15s]))',
)
