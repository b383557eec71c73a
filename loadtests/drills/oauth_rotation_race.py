"""The provider has rotated, and its answer is lost on the way: the user has to connect again."""

from loadtests.faults.provider import provider
from loadtests.judge.drill import Drill

DRILL = Drill(
    name="oauth_rotation_race",
    what="Under strict rotation three answers of the token endpoint are lost: a ticket, no page.",
    breaks=(
        provider(
            "three answers of the token endpoint are lost",
            rotation="strict",
            token={"mode": "lost_response", "times": 3},
        ),
    ),
    expects=(),
    tickets=frozenset({"OAuthRotationLost"}),
    deadline_seconds=240,
)
