"""What the calendar domain does in the database, but for the refresh (`lease`) and the sync (`progress`)."""

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from sqlalchemy import (
    Select,
    Text,
    and_,
    bindparam,
    case,
    func,
    not_,
    outerjoin,
    select,
    true,
    tuple_,
)
from sqlalchemy import cast as sql_cast
from sqlalchemy.dialects.postgresql import ARRAY, insert
from sqlalchemy.ext.asyncio import AsyncSession

from service import failures
from service.accounts import Account
from service.database import AnyRow, Database
from service.domains.calendar.models import Event, Grant, GrantStatus
from service.failures import Failure, FieldError
from service.metrics import PROVIDER
from service.security import Caller, CallerQuery, UnitOfWork
from service.upstream.client import CALENDAR_SCOPES

EXPIRING = timedelta(seconds=300)
"""An access token with less than this is counted as expiring."""
SCOPE_MISSING = "scope_missing"
"""The status of a grant that works at Google but opens no calendar."""


GRANT_OF_ACCOUNT = outerjoin(
    Account, Grant, and_(Grant.account_id == Account.id, Grant.provider == PROVIDER)
)
_CONNECTION = CallerQuery(
    Grant.status, Grant.scope, Grant.expires_at, Grant.synced_at, source=GRANT_OF_ACCOUNT
)


def _events(*, after_cursor: bool) -> CallerQuery:
    """Return the query of one page, on an index scan that ends with the page."""
    columns = (
        Event.id,
        Event.provider_event_id,
        Event.status,
        Event.summary,
        Event.starts_at,
        Event.ends_at,
        Event.all_day,
    )
    own = select(*columns).where(Event.account_id == Account.id)
    if after_cursor:
        position = tuple_(
            bindparam("starts_at", type_=Event.starts_at.type),
            bindparam("event_id", type_=Event.id.type),
        )
        own = own.where(tuple_(Event.starts_at, Event.id) > position)
    first = own.order_by(Event.starts_at, Event.id).limit(bindparam("events_max"))
    page = first.lateral("page")
    source = outerjoin(Account.__table__, page, true())
    return CallerQuery(*page.c, source=source, order_by=(page.c.starts_at, page.c.id))


_FIRST_PAGE, _NEXT_PAGE = _events(after_cursor=False), _events(after_cursor=True)


@dataclass(frozen=True, slots=True)
class Connection:
    """The grant as its owner may see it. status: a GrantStatus, `scope_missing` or `not_connected`."""

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


async def connection_of(work: UnitOfWork) -> Connection:
    (grant,) = await work.read(_CONNECTION)
    return Connection("not_connected") if grant.status is None else _connection(grant)


async def connect(session: AsyncSession, caller: Caller, tokens: SealedTokens) -> Connection:
    """Store the tokens of a new consent in place of what was there.

    The version moves on, so that a refresh of the old tokens which is still under way loses. The sync
    starts anew, because the consent may be for another calendar; `listed_at` changes, so that a sync of the
    old calendar which is still under way stores nothing more.
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
        "page_token": None,
        "listed_at": func.now(),
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
    return _connection((await session.scalars(statement)).one())


async def note_scope_missing(session: AsyncSession, caller: Caller, *, token_version: int) -> None:
    """Keep that the calendar refused this token for lack of permission, until a refresh says otherwise."""
    grant = await session.scalar(_grant_of(caller).with_for_update())
    if grant is not None and grant.token_version == token_version:
        kept = [scope for scope in grant.scope.split() if scope not in CALENDAR_SCOPES]
        grant.scope = " ".join(kept)


async def events_page(
    work: UnitOfWork, *, cursor: str | None, limit: int
) -> tuple[Sequence[AnyRow], str | None]:
    """Return the caller's events from the cursor on, earliest first, and the next page's cursor.

    Raises Failure(VALIDATION_FAILED) for a cursor that this service did not give.
    """
    if cursor is None:
        found = await work.read(_FIRST_PAGE, events_max=limit + 1)
    else:
        starts_at, event_id = _position(cursor)
        found = await work.read(
            _NEXT_PAGE, events_max=limit + 1, starts_at=starts_at, event_id=event_id
        )
    if found[0].id is None:
        return (), None
    page = found[:limit]
    return page, (_cursor(page[-1]) if len(found) > limit else None)


def _count() -> Select[str, int]:
    is_alive = Grant.status == GrantStatus.OK
    scopes = func.string_to_array(Grant.scope, " ")
    has_scope = scopes.bool_op("&&")(bindparam("any", sorted(CALENDAR_SCOPES), ARRAY(Text)))
    name = case(
        (and_(is_alive, not_(has_scope)), SCOPE_MISSING),
        (and_(is_alive, Grant.expires_at <= func.now() + EXPIRING), "expiring"),
        else_=sql_cast(Grant.status, Text),
    ).label("name")
    return select(name, func.count()).where(Grant.provider == PROVIDER).group_by(name)


_COUNT = _count()
_COUNTED = ("ok", "expiring", SCOPE_MISSING, "reauth_required", "misconfigured")


async def count_grants(database: Database) -> Mapping[str, int]:
    """Return the grants by status; `expiring` are those of `ok` whose access token is about to end."""
    return dict.fromkeys(_COUNTED, 0) | {row[0]: row[1] for row in await database.read(_COUNT)}


def _connection(grant: Grant | AnyRow) -> Connection:
    lacks_scope = CALENDAR_SCOPES.isdisjoint(grant.scope.split())
    is_lacking = grant.status is GrantStatus.OK and lacks_scope
    status = SCOPE_MISSING if is_lacking else grant.status.value
    return Connection(status, grant.scope, grant.expires_at, grant.synced_at)


def _grant_of(caller: Caller) -> Select[Grant]:
    return select(Grant).where(Grant.account_id == caller.account_id, Grant.provider == PROVIDER)


def _cursor(event: AnyRow) -> str:
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
