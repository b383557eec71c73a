"""A release of one client sends a body that the contract never had: their release, so a ticket."""

from loadtests.faults.client import alter
from loadtests.judge.drill import Drill
from loadtests.world.description import DEMO

DRILL = Drill(
    name="validation_break_one_client",
    what="One of three client versions sends settings with a renamed field: a ticket, no page.",
    breaks=(
        alter(
            f"theme is sent as colour by {DEMO.versions[-1]}",
            {
                "PUT /api/v1/settings": {"colour": "dark"},
                # It is the release for writing: it does not read, which would look like success.
            },
            versions=frozenset(DEMO.versions[-1:]),
        ),
    ),
    expects=(),
    tickets=frozenset({"ApiValidationClientRelease"}),
    deadline_seconds=180,
    evidence='sum(rate(http_request_validation_errors_total{http_route="/api/v1/settings"}[15s]))',
)
