"""One refresh under the lease: ask the provider, store its answer, give the lease back.

Everything here may be interrupted for longer than the lease lasts, or run beside another holder that has
taken over; what decides then is `token_version` in the row, never the order in which answers came.
"""

import time
from collections.abc import Callable
from functools import partial
from uuid import UUID

import stamina
import structlog

from service import failures, metrics
from service.config import Config
from service.database import Database
from service.domains.calendar import lease
from service.domains.calendar.access import Access, AccessToken, decrypt_failed, outcome_of
from service.domains.calendar.lease import Claim
from service.domains.calendar.models import GrantStatus
from service.domains.calendar.vault import SealedTokenUnreadableError
from service.failures import Failure
from service.metrics import PROVIDER
from service.upstream import CalendarProvider
from service.upstream.errors import CallFailed
from service.upstream.messages import Tokens

SPARE_LEASE_SECONDS = 1.0
"""A call is not begun with less of the lease left than it may take and this."""

_log = structlog.get_logger()


class Renewal:
    """clock: seconds of any origin; only differences count."""

    def __init__(
        self,
        database: Database,
        provider: CalendarProvider,
        access: Access,
        config: Config,
        *,
        clock: Callable[[], float],
    ) -> None:
        self._database = database
        self._provider = provider
        self._access = access
        self._config = config
        self._clock = clock

    async def refresh(self, held: Claim, asked_at: float) -> AccessToken | None:
        """Refresh under the lease; None when another process has stored newer tokens meanwhile."""
        if held.abandoned_by is not None:
            metrics.OAUTH_LEASE_TAKEOVERS.labels(PROVIDER).inc()
            _log.warning("oauth_lease_takeover", attempt=held.attempt.hex)
        started = time.perf_counter()
        in_flight = metrics.OAUTH_IN_FLIGHT.labels(PROVIDER)
        in_flight.inc()
        outcome: str | None = None
        try:
            token = await self._renew(held, asked_at)
            outcome = "superseded" if token is None else "success"
        except Failure as failure:
            outcome = outcome_of(failure)
            raise
        finally:
            in_flight.dec()
            if outcome is not None:
                metrics.OAUTH_REFRESH.labels(PROVIDER, outcome).inc()
                elapsed = time.perf_counter() - started
                metrics.OAUTH_REFRESH_SECONDS.labels(PROVIDER).observe(elapsed)
        if token is None:
            _log.info("oauth_refresh_superseded", attempt=held.attempt.hex)
            await self._release(held, held.unanswered_attempt, "superseded")
        return token

    async def _renew(self, held: Claim, asked_at: float) -> AccessToken | None:
        try:
            refresh_token = self._access.vault.open(
                held.refresh_token_enc, account_id=held.account_id
            )
        except SealedTokenUnreadableError as error:
            # Not written into the row: it is this process's keys that are wrong, not the grant.
            await self._release(held, held.unanswered_attempt, "decrypt_failed")
            raise decrypt_failed(error) from error
        config = self._config
        if self._lease_left(asked_at) < config.oauth_http_seconds + SPARE_LEASE_SECONDS:
            await self._release(held, held.unanswered_attempt, "lease_short")
            raise Failure(failures.PROVIDER_UNAVAILABLE, cause="lease_short")
        try:
            tokens = await self._provider.refresh(refresh_token)
        except CallFailed as failure:
            await self._give_up(held, failure)
            return None
        return await self._keep(held, tokens, seconds=self._lease_left(asked_at))

    def _lease_left(self, asked_at: float) -> float:
        """Seconds until others may take over, counted from before the database was asked."""
        return asked_at + self._config.oauth_lease_seconds - self._clock()

    async def _keep(self, held: Claim, tokens: Tokens, *, seconds: float) -> AccessToken | None:
        """Store the tokens; a database in trouble is asked again until the lease is over.

        Under rotation these are the only tokens there are: losing them costs the user's consent.
        """
        seal = partial(self._access.vault.seal, account_id=held.account_id)
        store = partial(
            lease.store,
            held=held,
            access_token_enc=seal(tokens.access_token),
            refresh_token_enc=seal(tokens.refresh_token) if tokens.refresh_token else None,
            expires_in_seconds=tokens.expires_in,
            scope=tokens.scope,
        )
        is_stored = False
        try:
            async for attempt in stamina.retry_context(
                on=Failure,  # the only ones here are the database's
                attempts=None,
                timeout=max(seconds, SPARE_LEASE_SECONDS),
                wait_initial=0.05,
                wait_max=1.0,
                wait_jitter=0.1,
            ):
                with attempt:
                    is_stored = await self._database.run(store, idempotent=True)
        except Failure as failure:
            _log.error("oauth_refresh_failed", stage="store", cause=failure.mode.code)
            raise
        if not is_stored:
            return await self._own_or_none(held, tokens)
        self._access.check_scope(tokens.scope or held.scope)
        return AccessToken(tokens.access_token, held.token_version + 1)

    async def _own_or_none(self, held: Claim, tokens: Tokens) -> AccessToken | None:
        """Tell a commit whose confirmation was lost from another holder's newer tokens."""
        grant = await lease.read(self._database, held.account_id, skew_seconds=0)
        if grant is None or grant.token_version != held.token_version + 1:
            return None
        token = self._access.opened(grant, held.account_id)
        return token if token.value == tokens.access_token else None

    async def _give_up(self, held: Claim, failure: CallFailed) -> None:
        """Store what the provider said, and raise it; return where another process has the lease now."""
        if failure.mode is failures.CALENDAR_REAUTH_REQUIRED:
            # Any other refusal is the user's or their administrator's word, not a token's reuse.
            was_unanswered = failure.is_unanswered or held.unanswered_attempt is not None
            is_lost = was_unanswered and failure.cause == "invalid_grant"
            reason = "lost_rotation" if is_lost else "revoked"
            if not await self._refuse(held, GrantStatus.REAUTH_REQUIRED, reason):
                return
            _log.warning("oauth_reauth_required", reason=reason, attempt=held.attempt.hex)
            raise self._access.reauth_required(reason) from failure
        if failure.mode is failures.PROVIDER_MISCONFIGURED:
            cause = failure.cause or "invalid_client"
            if not await self._refuse(held, GrantStatus.MISCONFIGURED, cause):
                return
            _log.error("oauth_misconfigured", cause=cause)
            raise failure
        _log.warning("oauth_refresh_failed", code=failure.mode.code, cause=failure.cause)
        unanswered = held.attempt if failure.is_unanswered else held.unanswered_attempt
        await self._release(held, unanswered, failure.cause or failure.mode.code)
        raise failure

    async def _refuse(self, held: Claim, status: GrantStatus, reason: str) -> bool:
        return await self._database.run(
            partial(lease.refuse, held=held, status=status, reason=reason), idempotent=True
        )

    async def _release(self, held: Claim, unanswered_attempt: UUID | None, error: str) -> None:
        """Give the lease back; where the database fails, it runs out."""
        release = partial(
            lease.release, held=held, unanswered_attempt=unanswered_attempt, error=error
        )
        try:
            await self._database.run(release, idempotent=True)
        except Failure as failure:
            _log.warning("oauth_lease_kept", code=failure.mode.code)
