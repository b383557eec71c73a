"""`python -m loadtests.world.plain_app`: the same routes without what the service adds.

What a FastAPI service has that nobody has made to survive: SQLAlchemy's pool as it comes (5 + 10
connections, 30 s, no ping), no limit on statements, no deadline, no admission, the HTTP client's 5 s,
no retries, no breaker, and a refresh of tokens as it is usually written. Errors are still named, so that
the two tables can be compared.
"""

import sys
import time
from collections.abc import Mapping
from datetime import timedelta
from functools import partial

import httpx
from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from firedrill_kit.resilience.breaker import Breaker
from firedrill_kit.resilience.retry import RetryBudget
from loadtests.world.drill_app import add_drill_routes
from service import failures
from service.app import Parts
from service.cache import Cache
from service.config import Config
from service.database import Database
from service.domains.calendar.access import AccessToken
from service.domains.calendar.grants import Grants
from service.domains.calendar.models import Grant
from service.failures import Failure
from service.process import main
from service.upstream import CalendarProvider

_NEVER_SECONDS = "100000"
_UNBOUNDED = "1000000"

ENVIRONMENT: dict[str, str] = {
    "POOL_SIZE": "5",
    "POOL_MAX_OVERFLOW": "10",
    "POOL_TIMEOUT_SECONDS": "30",
    "POOL_WAITERS_MAX": _UNBOUNDED,
    "CONNECT_GATE_SECONDS": "0",
    "CONNECT_TIMEOUT_SECONDS": "60",  # asyncpg's default
    # The configuration wants them in this order, and all out of reach.
    "LOCK_TIMEOUT_SECONDS": "90000",
    "STATEMENT_TIMEOUT_SECONDS": "91000",
    "COMMAND_TIMEOUT_SECONDS": "92000",
    "IDLE_IN_TRANSACTION_TIMEOUT_SECONDS": _NEVER_SECONDS,
    **{
        f"{name}_DEADLINE_SECONDS": _NEVER_SECONDS
        for name in ("READ", "WRITE", "LOGIN", "CALENDAR")
    },
    **{f"{name}_IN_FLIGHT_MAX": _UNBOUNDED for name in ("READ", "WRITE", "LOGIN", "CALENDAR")},
    "HEAD_TIMEOUT_SECONDS": _NEVER_SECONDS,
    "BODY_TIMEOUT_SECONDS": "99999",  # below the deadlines, which the configuration wants
    "ANSWER_TIMEOUT_SECONDS": _NEVER_SECONDS,
    "CALLER_SHARE_MAX": "1",
    "ROUTE_SHARE_MAX": "1",
    "PROVIDER_ATTEMPT_SECONDS": "5",  # httpx' default
    "OAUTH_HTTP_SECONDS": "5",
}
"""What the configuration can take away; the rest is below."""


class PlainGrants(Grants):
    """The refresh as it is usually written: each that finds the token expired asks for another."""

    def __init__(self, database: Database, provider: CalendarProvider, config: Config) -> None:
        super().__init__(database, provider, config)
        self._provider = provider

    async def _refreshed(self, key: tuple[int, int]) -> AccessToken:
        account_id, version = key
        grant = await self._database.run(partial(_grant, account_id=account_id), idempotent=True)
        if grant is None:
            raise Failure(failures.CALENDAR_NOT_CONNECTED)
        tokens = await self._provider.refresh(
            self.vault.open(grant.refresh_token_enc, account_id=account_id)
        )
        values = {
            "access_token_enc": self.vault.seal(tokens.access_token, account_id=account_id),
            "expires_at": func.now() + timedelta(seconds=tokens.expires_in),
            "token_version": version + 1,
        }
        if tokens.refresh_token:
            values["refresh_token_enc"] = self.vault.seal(
                tokens.refresh_token, account_id=account_id
            )
        await self._database.run(partial(_store, account_id=account_id, values=values))
        return AccessToken(tokens.access_token, version + 1)


async def _grant(session: AsyncSession, *, account_id: int) -> Grant | None:
    return await session.scalar(select(Grant).where(Grant.account_id == account_id))


async def _store(session: AsyncSession, *, account_id: int, values: Mapping[str, object]) -> None:
    await session.execute(update(Grant).where(Grant.account_id == account_id).values(values))


def _provider_without_breaker_and_retries(
    http: httpx.AsyncClient, config: Config, _cache: Cache
) -> CalendarProvider:
    breaker = Breaker(
        clock=time.monotonic, on_transition=lambda _old, _new: None, failures_min=sys.maxsize
    )
    budget = RetryBudget(clock=time.monotonic, ratio=0, floor=0)
    return CalendarProvider(http, config, breaker=breaker, budget=budget)


PARTS = Parts(
    database=partial(Database, pings=False),
    provider=_provider_without_breaker_and_retries,
    grants=PlainGrants,
    add_routes=add_drill_routes,
)
"""What no setting can take away."""

if __name__ == "__main__":
    sys.exit(main(PARTS))
