"""Our secret at the provider was rotated and the service still has the old one."""

from loadtests.faults.provider import provider
from loadtests.judge.drill import Drill

DRILL = Drill(
    name="oauth_client_rejected",
    what="The token endpoint answers invalid_client to every refresh.",
    breaks=(provider("the provider rejects our client", token={"mode": "invalid_client"}),),
    expects=("OAuthClientCredentialRejected",),
    deadline_seconds=120,
    # The rule looks five minutes back.
    resolve_seconds=420,
    also=frozenset({"ApiErrorBudgetBurn"}),
)
