"""What the calendar domain does in the database; `sync` puts it together with calls to the provider."""

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from sqlalchemy import (
    BigInteger,
    Select,
    Text,
    all_,
    any_,
    bindparam,
    delete,
    func,
    select,
    text,
    tuple_,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, insert
from sqlalchemy.ext.asyncio import AsyncSession

from service import failures
from service.domains.calendar.models import Event, Grant, GrantStatus
from service.failures import Failure, FieldError
from service.metrics import PROVIDER
from service.security import Caller
from service.upstream.messages import CalendarEvent

EXPIRING_SECONDS = 300
"""An access token with less than this is counted as expiring."""
ROWS_PER_STATEMENT = 1000
"""Keeps one statement far below the statement timeout: 1000 events take about 20 ms."""


@dataclass(frozen=True, slots=True)
class Connection:
    """The grant as its owner may see it. status: a GrantStatus, or `not_connected`."""

    status: str
    scope: str | None = None
    expires_at: datetime | None = None
    synced_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class SealedTokens:
    access_token_enc: bytes = field(repr=False)
    refresh_token_enc: bytes = field(repr=False)
    expires_in_seconds: int
    scope: str


@dataclass(frozen=True, slots=True)
class Changes:
    """What a sync did to the stored events. is_stored: False when another sync was faster."""

    created: int = 0
    updated: int = 0
    deleted: int = 0
    is_stored: bool = True


async def connection_of(session: AsyncSession, caller: Caller) -> Connection:
    grant = await session.scalar(_grant_of(caller))
    if grant is None:
        return Connection("not_connected")
    return Connection(grant.status.value, grant.scope, grant.expires_at, grant.synced_at)


async def connect(session: AsyncSession, caller: Caller, tokens: SealedTokens) -> Connection:
    """Store the tokens of a new consent in place of what was there.

    The version moves on, so that a refresh of the old tokens which is still under way loses; the sync
    token goes, because the new consent may be for another calendar.
    """
    values = {
        "access_token_enc": tokens.access_token_enc,
        "refresh_token_enc": tokens.refresh_token_enc,
        "expires_at": func.now() + timedelta(seconds=tokens.expires_in_seconds),
        "scope": tokens.scope,
        "status": GrantStatus.OK,
        "lease_owner": None,
        "lease_until": None,
        "attempt_id": None,
        "attempt_sent_at": None,
        "last_error": None,
        "sync_token": None,
    }
    statement = (
        insert(Grant)
        .values(account_id=caller.account_id, provider=PROVIDER, **values)
        .on_conflict_do_update(
            constraint="oauth_grants_account_id_provider_key",
            set_={**values, "token_version": Grant.token_version + 1},
        )
        .returning(Grant)
        .execution_options(populate_existing=True)
    )
    grant = (await session.scalars(statement)).one()
    return Connection(grant.status.value, grant.scope, grant.expires_at, grant.synced_at)


async def sync_token_of(session: AsyncSession, caller: Caller) -> str | None:
    """Return where the last sync ended, None before the first. Raises CALENDAR_NOT_CONNECTED."""
    grant = await session.scalar(_grant_of(caller))
    if grant is None:
        raise Failure(failures.CALENDAR_NOT_CONNECTED)
    return grant.sync_token


async def apply(
    session: AsyncSession,
    caller: Caller,
    events: Sequence[CalendarEvent],
    *,
    previous_token: str | None,
    next_token: str,
    is_full: bool,
) -> Changes:
    """Store what a sync pulled, all of it or nothing, together with where the next one starts.

    previous_token: where the pull started. When it is no longer the stored one another sync was
    faster: what we hold may be older than what it stored, so nothing is changed.
    is_full: events that were not pulled no longer exist.
    """
    advanced = await session.execute(
        update(Grant)
        .where(
            Grant.account_id == caller.account_id,
            Grant.provider == PROVIDER,
            Grant.sync_token.is_not_distinct_from(previous_token),
        )
        .values(sync_token=next_token, synced_at=func.now())
        .returning(Grant.id)
        .execution_options(synchronize_session=False)
    )
    if advanced.one_or_none() is None:
        return Changes(is_stored=False)
    kept = [event for event in events if not event.is_deleted]
    created = updated = 0
    for start in range(0, len(kept), ROWS_PER_STATEMENT):
        inserted = await _upsert(session, caller, kept[start : start + ROWS_PER_STATEMENT])
        created += sum(inserted)
        updated += len(inserted) - sum(inserted)
    # Of a full pull we know what is there, of any other what has gone.
    ids = [event.id for event in events if is_full is not event.is_deleted]
    named = bindparam("ids", ids, type_=ARRAY(Text))
    gone = (
        Event.provider_event_id != all_(named)
        if is_full
        else Event.provider_event_id == any_(named)
    )
    removed = await session.execute(
        delete(Event)
        .where(Event.account_id == caller.account_id, gone)
        .returning(Event.id)
        .execution_options(synchronize_session=False)
    )
    return Changes(created, updated, len(removed.all()))


async def events_page(
    session: AsyncSession, caller: Caller, *, cursor: str | None, limit: int
) -> tuple[Sequence[Event], str | None]:
    """Return the caller's events from the cursor on, earliest first, and the next page's cursor.

    Raises Failure(VALIDATION_FAILED) for a cursor that is not one of ours.
    """
    statement = select(Event).where(Event.account_id == caller.account_id)
    if cursor is not None:
        starts_at, event_id = _position(cursor)
        statement = statement.where(tuple_(Event.starts_at, Event.id) > (starts_at, event_id))
    statement = statement.order_by(Event.starts_at, Event.id).limit(limit + 1)
    found = (await session.scalars(statement)).all()
    page = found[:limit]
    return page, (_cursor(page[-1]) if len(found) > limit else None)


async def count_grants(session: AsyncSession) -> Mapping[str, int]:
    """Return the grants by status; `expiring` are those of `ok` whose access token is about to end."""
    is_expiring = Grant.expires_at <= func.now() + timedelta(seconds=EXPIRING_SECONDS)
    statement = select(Grant.status, is_expiring, func.count()).group_by(Grant.status, is_expiring)
    counts = dict.fromkeys(("ok", "expiring", "reauth_required", "misconfigured"), 0)
    for status, expiring, count in await session.execute(
        statement.where(Grant.provider == PROVIDER)
    ):
        name = "expiring" if expiring and status is GrantStatus.OK else status.value
        counts[name] += count
    return counts


def _grant_of(caller: Caller) -> Select[Grant]:
    return select(Grant).where(Grant.account_id == caller.account_id, Grant.provider == PROVIDER)


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
            "etag": event.etag,
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


def _cursor(event: Event) -> str:
    position = json.dumps([event.starts_at.isoformat(), event.id])
    return base64.urlsafe_b64encode(position.encode()).decode().rstrip("=")


def _position(cursor: str) -> tuple[datetime, int]:
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        starts_at, event_id = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
        # In UTC, where year 1 east of Greenwich is before the first year that there is.
        moment = datetime.fromisoformat(starts_at)
        in_utc = moment.astimezone(UTC)
    except (ValueError, TypeError, OverflowError) as error:
        raise _bad_cursor() from error
    if moment.tzinfo is None or type(event_id) is not int or not 0 < event_id < 2**63:
        raise _bad_cursor()
    return in_utc, event_id


def _bad_cursor() -> Failure:
    message = "Use the `next_cursor` of the page before."
    error = FieldError("query.cursor", "cursor_invalid", message)
    return Failure(failures.VALIDATION_FAILED, errors=[error])
