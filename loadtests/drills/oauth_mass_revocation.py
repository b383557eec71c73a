"""Users, or their administrator, took back what they had granted: nothing for us to mend at 3 am."""

from loadtests.faults.provider import provider
from loadtests.judge.drill import Drill

DRILL = Drill(
    name="oauth_mass_revocation",
    what="The token endpoint answers invalid_grant to every refresh: a ticket, no page.",
    breaks=(provider("the provider has revoked the grants", token={"mode": "invalid_grant"}),),
    expects=(),
    tickets=frozenset({"OAuthGrantRevocationSpike"}),
    deadline_seconds=240,
)
