"""A fault that waits: the token endpoint fails while no caller's token is due for an hour."""

from loadtests.faults.provider import provider
from loadtests.judge.drill import Drill

DRILL = Drill(
    name="provider_broken_unused",
    what="The token endpoint answers 503, and all tokens but the prober's live for an hour.",
    environment={"PROVIDER_EXPIRES_IN": "3600"},
    breaks=(provider("the token endpoint answers 503", token={"mode": "error_503"}),),
    expects=("CalendarProviderDown",),
    # Up to a minute until the prober's own token is due, then as every outage of the provider.
    deadline_seconds=210,
    resolve_seconds=180,
    evidence='sum(rate(oauth_refresh_total{job="service",outcome="provider_error"}[15s]))',
)
