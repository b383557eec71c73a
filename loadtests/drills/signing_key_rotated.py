"""The signing keys were replaced without an overlap: every token out there is worthless at once."""

from loadtests.faults.files import new_token_keys
from loadtests.judge.drill import Drill

DRILL = Drill(
    name="signing_key_rotated",
    what="The service starts with other signing keys, and callers keep the tokens they have.",
    breaks=(new_token_keys("service-1"),),
    expects=("AuthSignatureRejections",),
    # Fewer than half of the usual callers over five minutes, after a total lock-out, is 150 s.
    deadline_seconds=210,
    also=frozenset({"ApiProbeFailing"}),
    evidence='sum(rate(auth_tokens_rejected_total{reason="signature"}[15s]))',
)
