"""Where the sync of a calendar stands, and a page of events stored together with where it goes on.

Each page is a transaction of its own, so that what a deadline cuts short is kept: the next sync goes on at
the page that is still to come. A newcomer's usual mistake is to take the absence of an event from a page
for its end: only when a listing of everything has come to its last page is gone what it did not have.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from sqlalchemy import BigInteger, Boolean, Text, any_, bindparam, case, delete, func, text, update
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.ext.asyncio import AsyncSession

from service import failures
from service.domains.calendar.models import Event, Grant
from service.domains.calendar.operations import GRANT_OF_ACCOUNT
from service.failures import Failure
from service.metrics import PROVIDER
from service.security import Caller, CallerQuery, UnitOfWork
from service.upstream.messages import CalendarEvent, EventsPage

RELIST_AFTER = timedelta(days=30)
"""A sync token keeps the window of its first listing, so everything is listed anew before the window's end
comes near."""
ROWS_PER_STATEMENT = 1000
"""Keeps one statement far below the statement timeout: 1000 events take about 20 ms."""


@dataclass(frozen=True, slots=True)
class Progress:
    """What is stored, and read_at: the database's clock when it was read.

    sync_token None: everything is listed. page_token None: the next page is the first. listed_at: of the
    listing of everything that is under way or that the sync token descends from.
    """

    sync_token: str | None
    page_token: str | None
    listed_at: datetime | None
    pages: int
    read_at: datetime

    @property
    def is_full(self) -> bool:
        return self.sync_token is None

    def from_the_start(self) -> "Progress":
        """Return the progress of a listing of everything that begins now."""
        return replace(self, sync_token=None, page_token=None, listed_at=self.read_at, pages=0)

    def after(self, page: EventsPage) -> "Progress":
        """Return where the sync goes on after the page: in the listing, or with the next one."""
        if page.next_page_token is not None:
            return replace(self, page_token=page.next_page_token, pages=self.pages + 1)
        return replace(self, sync_token=page.next_sync_token, page_token=None, pages=0)


@dataclass(frozen=True, slots=True)
class Changes:
    """What a page did to the stored events. is_stored: False when another sync was faster."""

    created: int = 0
    updated: int = 0
    deleted: int = 0
    is_stored: bool = True


_STORED = CallerQuery(
    Grant.sync_token,
    Grant.page_token,
    Grant.listed_at,
    Grant.listed_pages,
    func.now().label("read_at"),
    source=GRANT_OF_ACCOUNT,
)


async def read(work: UnitOfWork) -> Progress:
    """Return what is stored. Raises CALENDAR_NOT_CONNECTED."""
    (row,) = await work.read(_STORED)
    if row.listed_pages is None:
        raise Failure(failures.CALENDAR_NOT_CONNECTED)
    return Progress(row.sync_token, row.page_token, row.listed_at, row.listed_pages, row.read_at)


def begin(stored: Progress) -> Progress:
    """Return where a sync starts: on what is stored, or anew when there is nothing or its window is old."""
    if stored.page_token is not None:
        return stored
    is_old = stored.listed_at is not None and stored.listed_at < stored.read_at - RELIST_AFTER
    return stored.from_the_start() if stored.is_full or is_old else stored


_GRANTS = Grant.__table__
_ADVANCE = (
    update(_GRANTS)
    .where(
        _GRANTS.c.account_id == bindparam("of_account"),
        _GRANTS.c.provider == PROVIDER,
        _GRANTS.c.sync_token.is_not_distinct_from(bindparam("was_sync_token")),
        _GRANTS.c.page_token.is_not_distinct_from(bindparam("was_page_token")),
        _GRANTS.c.listed_at.is_not_distinct_from(bindparam("was_listed_at")),
    )
    .values(
        sync_token=bindparam("now_sync_token"),
        page_token=bindparam("now_page_token"),
        listed_at=bindparam("now_listed_at"),
        listed_pages=bindparam("now_pages"),
        synced_at=case(
            (bindparam("is_synced", type_=Boolean), func.now()), else_=_GRANTS.c.synced_at
        ),
    )
    .returning(_GRANTS.c.id)
)
"""Built once: to build it costs as much as to send it."""


async def advance(
    session: AsyncSession, caller: Caller, *, stored: Progress, now_at: Progress, is_synced: bool
) -> bool:
    """Move the stored progress on; False when it is no longer what was read: another sync was faster."""
    parameters = {
        "of_account": caller.account_id,
        "was_sync_token": stored.sync_token,
        "was_page_token": stored.page_token,
        "was_listed_at": stored.listed_at,
        "now_sync_token": now_at.sync_token,
        "now_page_token": now_at.page_token,
        "now_listed_at": now_at.listed_at,
        "now_pages": now_at.pages,
        "is_synced": is_synced,
    }
    moved = await session.execute(_ADVANCE, parameters)
    return moved.one_or_none() is not None


async def store(
    session: AsyncSession,
    caller: Caller,
    page: EventsPage,
    *,
    stored: Progress,
    asked: Progress,
) -> Changes:
    """Store a page, all of it or nothing, together with where the sync goes on.

    stored: the progress as it was read; asked: the one that the page was asked for with. When another sync
    was faster, what we hold may be older than what it stored, so nothing is changed.
    """
    now_at = asked.after(page)
    is_last = now_at.page_token is None
    if not await advance(session, caller, stored=stored, now_at=now_at, is_synced=is_last):
        return Changes(is_stored=False)
    latest = {
        event.id: event for event in page.items
    }  # of an event that comes twice the later counts
    kept = [event for event in latest.values() if not event.is_deleted]
    created = updated = 0
    for start in range(0, len(kept), ROWS_PER_STATEMENT):
        inserted = await _upsert(session, caller, kept[start : start + ROWS_PER_STATEMENT])
        created += sum(inserted)
        updated += len(inserted) - sum(inserted)
    deleted = await _delete(
        session, caller, [event.id for event in latest.values() if event.is_deleted]
    )
    if asked.is_full and asked.listed_at is not None:
        # A skipped event is there, too: what was stored of it while it could be read stays.
        seen = [event.id for event in kept] + [event.id for event in page.skipped if event.id]
        await _mark_seen(session, caller, seen, since=asked.listed_at)
        if is_last:
            deleted += await _delete_unseen(session, caller, since=asked.listed_at)
    return Changes(created, updated, deleted)


async def _delete(session: AsyncSession, caller: Caller, ids: Sequence[str]) -> int:
    if not ids:
        return 0
    named = bindparam("ids", list(ids), type_=ARRAY(Text))
    statement = delete(Event).where(
        Event.account_id == caller.account_id, Event.provider_event_id == any_(named)
    )
    removed = await session.execute(
        statement.returning(Event.id).execution_options(synchronize_session=False)
    )
    return len(removed.all())


async def _mark_seen(
    session: AsyncSession, caller: Caller, ids: Sequence[str], *, since: datetime
) -> None:
    named = bindparam("ids", list(ids), type_=ARRAY(Text))
    await session.execute(
        update(Event)
        .where(
            Event.account_id == caller.account_id,
            Event.provider_event_id == any_(named),
            Event.seen_at < since,
        )
        .values(seen_at=func.now())
        .execution_options(synchronize_session=False)
    )


async def _delete_unseen(session: AsyncSession, caller: Caller, *, since: datetime) -> int:
    removed = await session.execute(
        delete(Event)
        .where(Event.account_id == caller.account_id, Event.seen_at < since)
        .returning(Event.id)
        .execution_options(synchronize_session=False)
    )
    return len(removed.all())


# One statement and one plan for any number of rows. `xmax` is 0 in a row that was not there before.
_UPSERT = text(
    """
    INSERT INTO calendar_events
        (account_id, provider_event_id, etag, status, summary, starts_at, ends_at, all_day)
    SELECT :account_id, id, etag, status, summary, starts_at, ends_at, all_day
    FROM jsonb_to_recordset(:events) AS event (
        id text, etag text, status text, summary text,
        starts_at timestamptz, ends_at timestamptz, all_day boolean
    )
    ON CONFLICT ON CONSTRAINT calendar_events_account_id_provider_event_id_key DO UPDATE SET
        etag = excluded.etag, status = excluded.status, summary = excluded.summary,
        starts_at = excluded.starts_at, ends_at = excluded.ends_at, all_day = excluded.all_day,
        updated_at = now()
    WHERE (calendar_events.etag, calendar_events.status, calendar_events.summary,
           calendar_events.starts_at, calendar_events.ends_at, calendar_events.all_day)
        IS DISTINCT FROM
          (excluded.etag, excluded.status, excluded.summary,
           excluded.starts_at, excluded.ends_at, excluded.all_day)
    RETURNING xmax = 0
    """
).bindparams(bindparam("account_id", type_=BigInteger), bindparam("events", type_=JSONB))


async def _upsert(
    session: AsyncSession, caller: Caller, events: Sequence[CalendarEvent]
) -> list[bool]:
    """Insert or change the events; return, for each that was written, whether it is new."""
    rows = [
        {
            "id": event.id,
            "etag": event.etag or "",
            "status": event.status,
            "summary": event.summary,
            "starts_at": event.start.in_utc().isoformat(),
            "ends_at": event.end.in_utc().isoformat(),
            "all_day": event.start.day is not None,
        }
        for event in events
        if event.start is not None and event.end is not None
    ]
    parameters = {"account_id": caller.account_id, "events": rows}
    return list(await session.scalars(_UPSERT, parameters))
