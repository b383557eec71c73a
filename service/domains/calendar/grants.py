"""The OAuth refresh: one call to the provider per expired grant, however many callers and processes wait.

In one process callers share a detached flight; between processes a lease in the grant's row decides who
asks. No database connection is held while the provider is asked: a row lock held over HTTP made an
unrelated `select 1` wait for 8.1 s, the lease 0.10 s (measured, 40 users, provider 1 s, pool 5). What cannot
be solved: a process that dies between the provider's commit and ours, under strict rotation, loses the
grant. That is detected (`lost_rotation`), never repaired silently.
"""

import asyncio
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from uuid import UUID, uuid4

import stamina
import structlog
from opentelemetry.trace import SpanContext, TraceFlags

from service import failures, metrics
from service.config import Config
from service.database import Database
from service.domains.calendar import lease
from service.domains.calendar.lease import Claim, StoredGrant
from service.domains.calendar.models import GrantStatus
from service.domains.calendar.vault import SealedTokenUnreadableError, Vault
from service.failures import Failure
from service.metrics import PROVIDER
from service.resilience import deadline
from service.resilience.single_flight import SingleFlight
from service.telemetry.record import current, enter_stage
from service.telemetry.traces import current_context, root_span, span
from service.upstream import CalendarProvider
from service.upstream.client import CALENDAR_SCOPES
from service.upstream.errors import CallFailed
from service.upstream.messages import Tokens

POLL_SECONDS = (0.02, 0.4)
"""First and longest pause between looks at a lease that another process holds."""
POLL_GROWTH = 1.7
GIVE_UP_BEFORE_SECONDS = 0.1
"""A caller leaves the flight this long before its deadline, in time to answer what it waited for."""
SPARE_LEASE_SECONDS = 1.0
CLOSE_SECONDS = 2.0
"""Of the 5 s that a process has to stop; a refresh takes a fraction of one."""

_log = structlog.get_logger()
_Key = tuple[int, int]


@dataclass(frozen=True, slots=True)
class AccessToken:
    value: str = field(repr=False)
    version: int
    """Counts the refreshes of the grant: says which token it was that the provider refused."""


@dataclass(slots=True)
class _Flight:
    """Who waits for a refresh, and the trace it happens in: its own, or another process's."""

    waiters: list[SpanContext] = field(default_factory=list)
    refresh: SpanContext | None = None


class Grants:
    """The grants of one process. `access_token` is all that the rest of the service needs."""

    def __init__(
        self,
        database: Database,
        provider: CalendarProvider,
        config: Config,
        *,
        clock: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        """clock: seconds of any origin. jitter: 0-1. Raises ValueError when there is no grant key."""
        self.vault = Vault(config.grant_keys)
        self._database = database
        self._provider = provider
        self._config = config
        self._clock = clock
        self._jitter = jitter
        self._flights: SingleFlight[_Key, AccessToken] = SingleFlight()
        self._under_way: dict[_Key, _Flight] = {}

    async def access_token(
        self, account_id: int, *, refused: AccessToken | None = None
    ) -> AccessToken:
        """Return a token that is good for a minute; refresh it when it is not.

        refused: the token that the provider has just answered with a 401, however long it should live.
        Raises Failure: CALENDAR_NOT_CONNECTED, CALENDAR_REAUTH_REQUIRED, CALENDAR_SCOPE_MISSING,
        PROVIDER_*, and PROVIDER_UNAVAILABLE when the caller's deadline ends before the refresh does.
        """
        grant = await self._database.run(
            partial(
                lease.read, account_id=account_id, skew_seconds=self._config.oauth_skew_seconds
            ),
            idempotent=True,
        )
        if grant is None:
            raise Failure(failures.CALENDAR_NOT_CONNECTED)
        if grant.status is GrantStatus.REAUTH_REQUIRED:
            raise self._reauth_required(grant.last_error)
        is_refused = refused is not None and refused.version == grant.token_version
        if grant.is_fresh and not is_refused:
            return self._opened(grant, account_id)
        return await self._refreshed((account_id, grant.token_version))

    async def close(self, seconds: float = CLOSE_SECONDS) -> None:
        """Let refreshes under way finish, but wait for them no longer than this."""
        cut_off = await self._flights.drain(seconds)
        if cut_off:
            _log.warning("oauth_refresh_cut_off", count=cut_off)

    async def _refreshed(self, key: _Key) -> AccessToken:
        """Join the flight of the grant, for as long as this caller has."""
        if key in self._flights:
            metrics.OAUTH_COALESCED.labels(PROVIDER, "process").inc()
        flight = self._under_way.setdefault(key, _Flight())
        flight.waiters.append(current_context())
        enter_stage("upstream")
        seconds = deadline.remaining() - GIVE_UP_BEFORE_SECONDS
        started = time.perf_counter()
        with span("oauth.lease.wait") as waiting:
            try:
                async with asyncio.timeout(None if seconds == deadline.FOREVER else seconds):
                    return await self._flights.run(key, lambda: self._fly(key, flight))
            except TimeoutError as error:
                raise Failure(failures.PROVIDER_UNAVAILABLE, cause="refresh_pending") from error
            finally:
                if flight.refresh is not None:
                    waiting.add_link(flight.refresh)
                record = current()
                if record is not None:
                    record.upstream_seconds += time.perf_counter() - started

    async def _fly(self, key: _Key, flight: _Flight) -> AccessToken:
        """Run detached from every caller: the refresh itself, in a trace of its own."""
        with root_span("oauth.refresh") as root:
            flight.refresh = root.get_span_context()
            try:
                return await self._lead_or_follow(key, flight.refresh)
            finally:
                for waiter in flight.waiters:
                    root.add_link(waiter)
                del self._under_way[key]

    async def _lead_or_follow(self, key: _Key, trace: SpanContext) -> AccessToken:
        account_id, seen_version = key
        config = self._config
        gives_up_at = self._clock() + config.oauth_lease_seconds + config.oauth_http_seconds
        pause, longest_pause = POLL_SECONDS
        followed = False
        while self._clock() < gives_up_at:
            asked_at = self._clock()
            attempt, owner = _identify(trace)
            found = await self._database.run(
                partial(
                    lease.claim,
                    account_id=account_id,
                    seen_version=seen_version,
                    owner=owner,
                    attempt=attempt,
                    lease_seconds=config.oauth_lease_seconds,
                )
            )
            match found:
                case None:
                    raise Failure(failures.CALENDAR_NOT_CONNECTED)
                case Claim():
                    token = await self._lead(found, asked_at)
                    if token is not None:
                        return token
                    continue  # another holder was faster: its result is, or will be, in the row
                case StoredGrant(token_version=version) if version != seen_version:
                    if followed:
                        metrics.OAUTH_COALESCED.labels(PROVIDER, "cluster").inc()
                    return self._opened(found, account_id)
                case StoredGrant():
                    self._check_alive(found)
            followed = True
            with span("oauth.lease.wait") as waiting:
                if (elsewhere := _trace_of(found)) is not None:
                    waiting.add_link(elsewhere)
                await asyncio.sleep(pause * self._jitter())
            pause = min(pause * POLL_GROWTH, longest_pause)
        raise Failure(failures.PROVIDER_UNAVAILABLE, cause="lease_wait")

    async def _lead(self, held: Claim, asked_at: float) -> AccessToken | None:
        """Refresh with the lease in hand; None when another's result stands instead of ours."""
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
            outcome = _outcome_of(failure)
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
            refresh_token = self.vault.open(held.refresh_token_enc, account_id=held.account_id)
        except SealedTokenUnreadableError as error:
            # Not written into the row: it is this process's keys that are wrong, not the grant.
            await self._release(held, held.unanswered_attempt, "decrypt_failed")
            raise _decrypt_failed(error) from error
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
        seal = partial(self.vault.seal, account_id=held.account_id)
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
        self._check_scope(tokens.scope or held.scope)
        return AccessToken(tokens.access_token, held.token_version + 1)

    async def _own_or_none(self, held: Claim, tokens: Tokens) -> AccessToken | None:
        """Tell a commit whose confirmation was lost from another holder's newer tokens."""
        grant = await self._database.run(
            partial(lease.read, account_id=held.account_id, skew_seconds=0), idempotent=True
        )
        if grant is None or grant.token_version != held.token_version + 1:
            return None
        token = self._opened(grant, held.account_id)
        return token if token.value == tokens.access_token else None

    async def _give_up(self, held: Claim, failure: CallFailed) -> None:
        """Write down what the provider said, and raise it; return when the row is no longer ours."""
        if failure.mode is failures.CALENDAR_REAUTH_REQUIRED:
            is_lost = failure.is_unanswered or held.unanswered_attempt is not None
            reason = "lost_rotation" if is_lost else "revoked"
            if not await self._refuse(held, GrantStatus.REAUTH_REQUIRED, reason):
                return
            _log.warning("oauth_reauth_required", reason=reason, attempt=held.attempt.hex)
            raise self._reauth_required(reason) from failure
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
        """Give the lease back; if the database does not let us, it ends by itself."""
        release = partial(
            lease.release, held=held, unanswered_attempt=unanswered_attempt, error=error
        )
        try:
            await self._database.run(release, idempotent=True)
        except Failure as failure:
            _log.warning("oauth_lease_kept", code=failure.mode.code)

    def _opened(self, grant: StoredGrant, account_id: int) -> AccessToken:
        self._check_scope(grant.scope)
        try:
            value = self.vault.open(grant.access_token_enc, account_id=account_id)
        except SealedTokenUnreadableError as error:
            metrics.OAUTH_REFRESH.labels(PROVIDER, "decrypt_failed").inc()
            raise _decrypt_failed(error) from error
        return AccessToken(value, grant.token_version)

    def _check_alive(self, grant: StoredGrant) -> None:
        """Raise what a waiter can know already: no call is made for a dead grant."""
        if grant.status is GrantStatus.REAUTH_REQUIRED:
            raise self._reauth_required(grant.last_error)
        if grant.status is GrantStatus.MISCONFIGURED:
            raise Failure(failures.PROVIDER_MISCONFIGURED, cause=grant.last_error)

    def _check_scope(self, scope: str) -> None:
        if CALENDAR_SCOPES.isdisjoint(scope.split()):
            raise Failure(
                failures.CALENDAR_SCOPE_MISSING,
                cause="scope",
                extensions={"reauth_url": self._provider.consent_url},
            )

    def _reauth_required(self, reason: str | None) -> Failure:
        known = reason if reason in {"revoked", "lost_rotation"} else "revoked"
        return Failure(
            failures.CALENDAR_REAUTH_REQUIRED,
            cause=known,
            extensions={"reauth_url": self._provider.consent_url, "reason": known},
        )


def _decrypt_failed(error: SealedTokenUnreadableError) -> Failure:
    _log.error("oauth_misconfigured", cause="decrypt_failed", reason=error.reason)
    return Failure(failures.PROVIDER_MISCONFIGURED, cause="decrypt_failed")


def _outcome_of(failure: Failure) -> str | None:
    """Return the outcome of the refresh that ended so; None when the provider was not even asked."""
    by_mode: dict[Any, str] = {
        failures.PROVIDER_TIMEOUT: "timeout",
        failures.PROVIDER_RATE_LIMITED: "rate_limited",
        failures.PROVIDER_QUOTA_EXHAUSTED: "rate_limited",
        failures.PROVIDER_BAD_RESPONSE: "provider_error",
        failures.PROVIDER_ERROR: "provider_error",
        failures.CALENDAR_SCOPE_MISSING: "success",
    }
    match failure.mode, failure.cause:
        case failures.PROVIDER_UNAVAILABLE, "connect" | "disconnect":
            return "network"
        case failures.PROVIDER_UNAVAILABLE, "status":
            return "provider_error"
        case failures.CALENDAR_REAUTH_REQUIRED, cause:
            return "lost_rotation" if cause == "lost_rotation" else "invalid_grant"
        case failures.PROVIDER_MISCONFIGURED, cause:
            return "decrypt_failed" if cause == "decrypt_failed" else "invalid_client"
    return by_mode.get(failure.mode)


def _identify(trace: SpanContext) -> tuple[UUID, UUID]:
    """Return attempt and owner of a lease.

    The attempt is the trace of the refresh and the owner ends in its span: a waiter in another process
    can link to it. Random where nothing is traced.
    """
    owner = uuid4().int
    if not trace.is_valid:
        return uuid4(), UUID(int=owner)
    return UUID(int=trace.trace_id), UUID(int=owner >> 64 << 64 | trace.span_id)


def _trace_of(found: StoredGrant) -> SpanContext | None:
    if found.refreshing is None:
        return None
    attempt, owner = found.refreshing
    return SpanContext(
        attempt.int, owner.int & (2**64 - 1), is_remote=True, trace_flags=TraceFlags.get_default()
    )
