"""The use cases that talk to the provider: connecting a calendar, and pulling what changed in it.

The pattern of each: read in one transaction, call the provider without any, write in another. What comes
out of the provider is held in memory until all of it is there; only then is it stored, at once.
"""

from dataclasses import dataclass

import structlog

from service import failures, metrics
from service.domains.calendar import operations
from service.domains.calendar.access import AccessToken
from service.domains.calendar.grants import Grants
from service.domains.calendar.operations import Changes, Connection, SealedTokens
from service.failures import Failure
from service.security import UnitOfWork
from service.telemetry.traces import span
from service.upstream import CalendarProvider
from service.upstream.client import CALENDAR_SCOPES
from service.upstream.errors import (
    ENDLESS_PAGES,
    AccessTokenRefused,
    Endpoint,
    SyncTokenExpired,
    failure_of,
)
from service.upstream.messages import CalendarEvent

MAX_PAGES = 100
"""25,000 events: what does not fit is not a person's calendar but pages without end."""

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Synced:
    created: int
    updated: int
    deleted: int
    full_resync: bool


@dataclass(frozen=True, slots=True)
class _Pulled:
    """is_full: everything was asked for, not only what changed since the last sync."""

    events: list[CalendarEvent]
    next_token: str
    is_full: bool


async def connect(
    work: UnitOfWork, grants: Grants, provider: CalendarProvider, *, code: str
) -> Connection:
    """Exchange an authorization code and store the tokens.

    Raises Failure: CALENDAR_REAUTH_REQUIRED for a code that Google does not take or that came without a
    refresh token, CALENDAR_SCOPE_MISSING, PROVIDER_*.
    """
    caller = await work.caller()
    again = {"reauth_url": provider.consent_url}
    try:
        tokens = await provider.exchange_code(code)
    except Failure as failure:
        if failure.mode is failures.CALENDAR_REAUTH_REQUIRED:
            failure.extensions.update(again, reason="code_refused")
        raise
    if CALENDAR_SCOPES.isdisjoint((tokens.scope or "").split()):
        raise Failure(failures.CALENDAR_SCOPE_MISSING, cause="scope", extensions=again)
    if tokens.refresh_token is None:
        raise Failure(
            failures.CALENDAR_REAUTH_REQUIRED,
            cause="no_refresh_token",
            extensions={**again, "reason": "no_refresh_token"},
        )
    seal = grants.vault.seal
    sealed = SealedTokens(
        access_token_enc=seal(tokens.access_token, account_id=caller.account_id),
        refresh_token_enc=seal(tokens.refresh_token, account_id=caller.account_id),
        expires_in_seconds=tokens.expires_in,
        scope=tokens.scope or "",
    )
    return await work.write(operations.connect, sealed)


async def sync(work: UnitOfWork, grants: Grants, provider: CalendarProvider) -> Synced:
    """Pull what changed since the last sync and store it; everything, when Google asks for that.

    When two syncs of one calendar overlap, the later to finish stores nothing and says so: 0 changes.
    """
    with span("calendar.sync") as active:
        start_token = await work.read(operations.sync_token_of)
        account_id = (await work.caller()).account_id
        pulled = await _pull(grants, provider, account_id, start_token)
        changes = await work.write(
            operations.apply,
            pulled.events,
            previous_token=start_token,
            next_token=pulled.next_token,
            is_full=pulled.is_full,
        )
        full_resync = pulled.is_full and start_token is not None
        active.set_attribute("firedrill.calendar.events", len(pulled.events))
        active.set_attribute("firedrill.calendar.full_resync", full_resync)
    _count(changes)
    return Synced(changes.created, changes.updated, changes.deleted, full_resync)


async def _pull(
    grants: Grants, provider: CalendarProvider, account_id: int, start_token: str | None
) -> _Pulled:
    token = await grants.access_token(account_id)
    try:
        try:
            return await _pages(grants, provider, account_id, token, start_token)
        except SyncTokenExpired:
            if start_token is None:
                raise
        _log.info("sync_token_expired")
        return await _pages(grants, provider, account_id, token, None)
    except Failure as failure:
        if failure.mode in {failures.CALENDAR_REAUTH_REQUIRED, failures.CALENDAR_SCOPE_MISSING}:
            failure.extensions.setdefault("reauth_url", provider.consent_url)
        raise


async def _pages(
    grants: Grants,
    provider: CalendarProvider,
    account_id: int,
    token: AccessToken,
    sync_token: str | None,
) -> _Pulled:
    """Read page after page; of an event that comes twice the later word counts.

    A token that is refused is refreshed once for each page; refused again, it is raised.
    """
    events: dict[str, CalendarEvent] = {}
    query = {} if sync_token is None else {"sync_token": sync_token}
    for _ in range(MAX_PAGES):
        try:
            page = await provider.list_events(token.value, **query)
        except AccessTokenRefused:
            token = await grants.access_token(account_id, refused=token)
            page = await provider.list_events(token.value, **query)
        events.update((event.id, event) for event in page.items)
        if page.next_sync_token is not None:
            return _Pulled(list(events.values()), page.next_sync_token, sync_token is None)
        query["page_token"] = page.next_page_token or ""
    metrics.UPSTREAM_BAD_RESPONSES.labels(metrics.PROVIDER, ENDLESS_PAGES.bad_because).inc()
    _log.warning("sync_bad_payload", why=ENDLESS_PAGES.bad_because, pages=MAX_PAGES)
    raise failure_of(ENDLESS_PAGES, Endpoint.CALENDAR)


def _count(changes: Changes) -> None:
    for change, count in (
        ("created", changes.created),
        ("updated", changes.updated),
        ("deleted", changes.deleted),
    ):
        metrics.SYNC_EVENTS.labels(change).inc(count)
