"""An issuer writes tokens that contradict themselves: whom they name is nobody's to guess."""

from loadtests.faults.client import contradicting_tokens
from loadtests.judge.drill import Drill
from loadtests.world.description import DEMO

DRILL = Drill(
    name="token_conflict",
    what="One of three client versions shows tokens of two accounts at once: a ticket, no page.",
    breaks=(contradicting_tokens(DEMO.versions[-1]),),
    expects=(),
    tickets=frozenset({"AuthClaimsConflict"}),
    deadline_seconds=120,
    evidence='sum(rate(auth_tokens_rejected_total{reason="conflict"}[15s]))',
)
