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

import structlog
from opentelemetry.trace import SpanContext, TraceFlags
from sqlalchemy.ext.asyncio import AsyncSession

from firedrill_kit.resilience import deadline
from firedrill_kit.resilience.single_flight import SingleFlight
from firedrill_kit.telemetry.record import current, enter_stage
from firedrill_kit.telemetry.traces import current_context, root_span, span
from service import failures, metrics
from service.config import Config
from service.database import Database
from service.domains.calendar import lease
from service.domains.calendar.access import Access, AccessToken
from service.domains.calendar.lease import Claim, StoredGrant
from service.domains.calendar.models import GrantStatus
from service.domains.calendar.renewal import Renewal
from service.domains.calendar.vault import Vault
from service.failures import Failure
from service.metrics import PROVIDER
from service.upstream import CalendarProvider

POLL_SECONDS = (0.02, 0.4)
"""First and longest pause between looks at a lease that another process holds."""
POLL_GROWTH = 1.7
GIVE_UP_BEFORE_SECONDS = 0.1
"""A caller leaves the flight this long before its deadline, in time to answer what it waited for."""
CLOSE_SECONDS = 2.0
"""Time for refreshes under way at a stop, of its 5 s; a refresh takes a fraction of a second."""

_log = structlog.get_logger()
_Key = tuple[int, int]


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
        self._access = Access(self.vault, consent_url=provider.consent_url)
        self._renewal = Renewal(database, provider, self._access, config, clock=clock)
        self._database = database
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
        grant = await lease.read(
            self._database, account_id, skew_seconds=self._config.oauth_skew_seconds
        )
        if grant is None:
            raise Failure(failures.CALENDAR_NOT_CONNECTED)
        if grant.status is GrantStatus.REAUTH_REQUIRED:
            raise self._access.reauth_required(grant.last_error)
        is_refused = refused is not None and refused.version == grant.token_version
        if grant.is_fresh and not is_refused:
            return self._access.opened(grant, account_id)
        return await self._refreshed((account_id, grant.token_version))

    async def close(self, seconds: float = CLOSE_SECONDS) -> None:
        """Let refreshes under way finish, but wait for them no longer than this."""
        cut_off = await self._flights.drain(seconds)
        if cut_off:
            _log.warning("oauth_refresh_cut_off", count=cut_off)

    async def _refreshed(self, key: _Key) -> AccessToken:
        """Wait for the refresh of the grant, which is begun if there is none, until the caller's deadline."""
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
        """Refresh in a task of its own, which no caller's cancellation ends, and in a trace of its own."""
        with root_span("oauth.refresh", keep=True) as root:
            flight.refresh = root.get_span_context()
            try:
                return await self._refresh_or_wait(key, flight.refresh)
            finally:
                for waiter in flight.waiters:
                    root.add_link(waiter)
                del self._under_way[key]

    async def _refresh_or_wait(self, key: _Key, trace: SpanContext) -> AccessToken:
        account_id, seen_version = key
        config = self._config
        gives_up_at = self._clock() + config.oauth_lease_seconds + config.oauth_http_seconds
        pause, longest_pause = POLL_SECONDS
        has_waited = False
        while self._clock() < gives_up_at:
            attempt, owner = _identify(trace)
            asked_at, found = await self._database.run(
                partial(
                    self._claim,
                    account_id=account_id,
                    seen_version=seen_version,
                    owner=owner,
                    attempt=attempt,
                )
            )
            match found:
                case None:
                    raise Failure(failures.CALENDAR_NOT_CONNECTED)
                case Claim():
                    token = await self._renewal.refresh(found, asked_at)
                    if token is not None:
                        return token
                    continue  # another holder was faster: its result is, or will be, in the row
                case StoredGrant(token_version=version) if version != seen_version:
                    if has_waited:
                        metrics.OAUTH_COALESCED.labels(PROVIDER, "cluster").inc()
                    return self._access.opened(found, account_id)
                case StoredGrant():
                    self._access.check_alive(found)
            has_waited = True
            with span("oauth.lease.wait") as waiting:
                if (elsewhere := _trace_of(found)) is not None:
                    waiting.add_link(elsewhere)
                await asyncio.sleep(pause * self._jitter())
            pause = min(pause * POLL_GROWTH, longest_pause)
        raise Failure(failures.PROVIDER_UNAVAILABLE, cause="lease_wait")

    async def _claim(
        self, session: AsyncSession, **wanted: Any
    ) -> tuple[float, Claim | StoredGrant | None]:
        """Try to take the lease; also return when, by this process's clock, it began at the earliest."""
        await session.connection()  # the wait for one is no part of the lease
        asked_at = self._clock()
        seconds = self._config.oauth_lease_seconds
        return asked_at, await lease.claim(session, **wanted, lease_seconds=seconds)


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
