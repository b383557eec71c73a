"""The use cases that talk to the provider: connecting a calendar, and pulling what changed in it.

The pattern of each: read in one transaction, call the provider without any, write in another.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial

import structlog

from firedrill_kit.resilience import deadline
from firedrill_kit.telemetry.traces import span
from service import failures, metrics
from service.domains.calendar import operations, progress
from service.domains.calendar.access import AccessToken
from service.domains.calendar.grants import Grants
from service.domains.calendar.operations import Connection, SealedTokens
from service.domains.calendar.progress import Changes, Progress
from service.failures import Failure
from service.security import UnitOfWork
from service.upstream import CalendarProvider
from service.upstream.client import CALENDAR_SCOPES, PAGE_EVENTS, REQUESTED_SCOPE
from service.upstream.errors import (
    ENDLESS_PAGES,
    AccessTokenRefused,
    AnswerTooLarge,
    Endpoint,
    SyncTokenExpired,
    failure_of,
)
from service.upstream.messages import EventsPage

MAX_PAGES = 400
"""Most pages of one listing, over all its syncs: a million events are pages without end."""
SPARE_SECONDS = 4.0
"""No further page is asked for with less left: an attempt at one may take 3 s, and it has to be stored."""
PAST, FUTURE = timedelta(days=366), timedelta(days=366)
"""The part of a calendar that is kept, as of its listing. Without an end each weekly event comes hundreds
of times; the listing is renewed long before the window's end is near."""
NAMED_PER_PAGE = 20
"""Skipped events that the log names; all are counted."""

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Synced:
    created: int
    updated: int
    deleted: int
    full_resync: bool
    complete: bool


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
    scope = tokens.scope or REQUESTED_SCOPE  # left out: as asked for
    if CALENDAR_SCOPES.isdisjoint(scope.split()):
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
        scope=scope,
    )
    return await work.write(operations.connect, sealed)


async def sync(work: UnitOfWork, grants: Grants, provider: CalendarProvider) -> Synced:
    """Pull what changed since the last sync, page by page, and store it; everything, when it has to be.

    Each page is stored as it comes. What does not fit into the request's time is the next sync's, and the
    answer says so. When two syncs of one calendar overlap, the slower stores nothing more and stops.
    Raises Failure: CALENDAR_*, PROVIDER_*; the pages stored by then are kept.
    """
    with span("calendar.sync") as active:
        stored = await progress.read(work)
        account_id = (await work.caller()).account_id
        run = _Run(work, provider, stored, await grants.access_token(account_id))
        try:
            await run.pages(grants, account_id)
        except Failure as failure:
            if failure.mode is failures.CALENDAR_SCOPE_MISSING:
                await run.note_scope_missing()
            if failure.mode in _REAUTHORISED:
                failure.extensions.setdefault("reauth_url", provider.consent_url)
            raise
        finally:
            active.set_attribute("firedrill.calendar.events", run.events)
            active.set_attribute("firedrill.calendar.full_resync", run.is_resync)
    return Synced(run.created, run.updated, run.deleted, run.is_resync, run.is_complete)


_REAUTHORISED = frozenset(
    {
        failures.CALENDAR_REAUTH_REQUIRED,
        failures.CALENDAR_SCOPE_MISSING,
        failures.CALENDAR_FORBIDDEN,
    }
)


class _Run:
    """One sync under way, and what it has done so far."""

    def __init__(
        self, work: UnitOfWork, provider: CalendarProvider, stored: Progress, token: AccessToken
    ) -> None:
        self._work = work
        self._provider = provider
        self._stored = stored
        self._token = token
        self._sizes: Sequence[int] = PAGE_EVENTS
        self.created = self.updated = self.deleted = self.events = 0
        self.is_resync = self.is_complete = False

    async def pages(self, grants: Grants, account_id: int) -> None:
        """Read and store page after page: to the last, until the time is over or another sync is ahead."""
        asked = progress.begin(self._stored)
        while True:
            self.is_resync = asked.is_full and (self.is_resync or not self._stored.is_full)
            try:
                page = await self._page(grants, account_id, asked)
            except SyncTokenExpired:
                if asked.sync_token is None and asked.page_token is None:
                    raise
                _log.info("sync_token_expired")
                asked = asked.from_the_start()
                continue
            except AnswerTooLarge:
                if len(self._sizes) == 1:
                    raise
                self._sizes = self._sizes[1:]
                continue
            changes = await self._work.write(
                progress.store, page, stored=self._stored, asked=asked
            )
            self._note(page, changes)
            self._stored = asked = asked.after(page)
            self.is_complete = asked.page_token is None
            if self.is_complete or not changes.is_stored or deadline.remaining() < SPARE_SECONDS:
                return
            if asked.pages >= MAX_PAGES:
                await self._give_up(asked)

    async def _page(self, grants: Grants, account_id: int, asked: Progress) -> EventsPage:
        """Ask for a page; a token that is refused is refreshed once, and refused again it is raised."""
        window = (
            None if asked.listed_at is None else (asked.listed_at - PAST, asked.listed_at + FUTURE)
        )
        fetch = partial(
            self._provider.list_events,
            sync_token=asked.sync_token,
            page_token=asked.page_token,
            window=window if asked.is_full else None,
            page_events=self._sizes[0],
        )
        try:
            return await fetch(self._token.value)
        except AccessTokenRefused:
            self._token = await grants.access_token(account_id, refused=self._token)
            return await fetch(self._token.value)

    async def note_scope_missing(self) -> None:
        """Let the connection say what the calendar has said of the token."""
        await self._work.write(operations.note_scope_missing, token_version=self._token.version)

    def _note(self, page: EventsPage, changes: Changes) -> None:
        if not changes.is_stored:
            return
        self.events += len(page.items)
        self.created += changes.created
        self.updated += changes.updated
        self.deleted += changes.deleted
        for change in ("created", "updated", "deleted"):
            metrics.SYNC_EVENTS.labels(change).inc(getattr(changes, change))
        for skipped in page.skipped:
            metrics.SYNC_EVENTS_SKIPPED.labels(skipped.reason).inc()
        for skipped in page.skipped[:NAMED_PER_PAGE]:
            _log.warning(
                "sync_event_skipped",
                provider_event_id=skipped.id,
                event_field=skipped.field,
                why=skipped.reason,
                skipped_of_page=len(page.skipped),
            )

    async def _give_up(self, asked: Progress) -> None:
        """Forget a listing that does not end; the next sync lists everything."""
        anew = replace(asked, sync_token=None, page_token=None, pages=0)
        await self._work.write(progress.advance, stored=asked, now_at=anew, is_synced=False)
        why = ENDLESS_PAGES.bad_because
        metrics.UPSTREAM_BAD_RESPONSES.labels(metrics.PROVIDER, why).inc()
        _log.warning("sync_bad_payload", why=why, pages=asked.pages)
        raise failure_of(ENDLESS_PAGES, Endpoint.CALENDAR)
