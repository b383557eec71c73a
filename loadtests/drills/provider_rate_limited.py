"""The project's quota at the provider is used up: to be raised in working hours."""

from loadtests.faults.provider import provider
from loadtests.judge.drill import Drill

DRILL = Drill(
    name="provider_rate_limited",
    what="The calendar answers 403 rateLimitExceeded: a ticket, no page.",
    breaks=(provider("the project's quota is used up", calendar={"mode": "rate_limit_exceeded"}),),
    expects=(),
    tickets=frozenset({"ProviderQuotaExhausted"}),
    deadline_seconds=240,
)
