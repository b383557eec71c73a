"""The rows of `oauth_grants` as the refresh sees them: read, claim, store, refuse, release.

Each function is one statement (two when a claim is refused) in a transaction of its own; none spans a call
to the provider. All times are the database's: replicas' clocks may differ by an hour without effect. Two
guards keep writers apart: `token_version` for what the provider said, `lease_owner` for who may ask.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    BindParameter,
    ColumnElement,
    Interval,
    and_,
    bindparam,
    case,
    func,
    or_,
    select,
    update,
)
from sqlalchemy.ext.asyncio import AsyncSession

from service.database import AnyRow, Database
from service.domains.calendar.models import Grant, GrantStatus
from service.metrics import PROVIDER

MISCONFIGURED_RETRY_SECONDS = 60
"""A grant whose refresh failed for our own credentials is tried again once a minute: when the operator
has mended them, nobody has to connect again."""


@dataclass(frozen=True, slots=True)
class StoredGrant:
    """What waiters and users of the access token need.

    is_fresh: the access token lives for the skew at least. refreshing: ids of the refresh under way.
    """

    status: GrantStatus
    scope: str
    access_token_enc: bytes = field(repr=False)
    token_version: int
    last_error: str | None
    is_fresh: bool
    refreshing: tuple[UUID, UUID] | None = None


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to refresh, for the lease's time.

    unanswered_attempt: an earlier refresh that was sent and, for all we know, never answered.
    abandoned_by: the holder whose lease ran out.
    """

    grant_id: int
    account_id: int
    owner: UUID
    attempt: UUID
    token_version: int
    refresh_token_enc: bytes = field(repr=False)
    scope: str
    unanswered_attempt: UUID | None
    abandoned_by: UUID | None


def _of(account_id: int | BindParameter[int]) -> ColumnElement[bool]:
    return and_(Grant.account_id == account_id, Grant.provider == PROVIDER)


_READ = select(
    Grant.status,
    Grant.scope,
    Grant.access_token_enc,
    Grant.token_version,
    Grant.last_error,
    (Grant.expires_at > func.now() + bindparam("skew", type_=Interval)).label("is_fresh"),
    Grant.attempt_id,
    Grant.lease_owner,
).where(_of(bindparam("account_id", type_=BigInteger)))


async def read(database: Database, account_id: int, *, skew_seconds: float) -> StoredGrant | None:
    return _stored(await database.read(_READ, _read_by(account_id, skew_seconds)))


def _read_by(account_id: int, skew_seconds: float) -> dict[str, object]:
    return {"account_id": account_id, "skew": timedelta(seconds=skew_seconds)}


def _stored(rows: Sequence[AnyRow]) -> StoredGrant | None:
    if not rows:
        return None
    status, scope, access_token_enc, version, last_error, is_fresh, attempt, owner = rows[0]
    refreshing = (attempt, owner) if attempt is not None and owner is not None else None
    return StoredGrant(status, scope, access_token_enc, version, last_error, is_fresh, refreshing)


async def claim(
    session: AsyncSession,
    account_id: int,
    *,
    seen_version: int,
    owner: UUID,
    attempt: UUID,
    lease_seconds: float,
) -> Claim | StoredGrant | None:
    """Take the lease if the grant is alive, nobody holds it and its token is still the one seen.

    Returns what is stored when the lease is not to be had, None when there is no grant.
    """
    retry_misconfigured = and_(
        Grant.status == GrantStatus.MISCONFIGURED,
        or_(
            Grant.attempt_sent_at.is_(None),
            Grant.attempt_sent_at < func.now() - timedelta(seconds=MISCONFIGURED_RETRY_SECONDS),
        ),
    )
    before = (
        select(Grant.id, Grant.lease_owner, Grant.attempt_id)
        .where(
            _of(account_id),
            Grant.token_version == seen_version,
            or_(Grant.status == GrantStatus.OK, retry_misconfigured),
            or_(Grant.lease_until.is_(None), Grant.lease_until < func.now()),
        )
        .with_for_update()
        .cte("before")
    )
    statement = (
        update(Grant)
        .where(Grant.id == before.c.id)
        .values(
            lease_owner=owner,
            lease_until=func.now() + timedelta(seconds=lease_seconds),
            attempt_id=attempt,
            attempt_sent_at=func.now(),
        )
        .returning(
            Grant.id,
            Grant.refresh_token_enc,
            Grant.scope,
            before.c.lease_owner,
            before.c.attempt_id,
        )
        .execution_options(synchronize_session=False)
    )
    row = (await session.execute(statement)).one_or_none()
    if row is None:
        return _stored((await session.execute(_READ, _read_by(account_id, 0))).all())
    grant_id, refresh_token_enc, scope, abandoned_by, unanswered_attempt = row
    return Claim(
        grant_id=grant_id,
        account_id=account_id,
        owner=owner,
        attempt=attempt,
        token_version=seen_version,
        refresh_token_enc=refresh_token_enc,
        scope=scope,
        unanswered_attempt=unanswered_attempt,
        abandoned_by=abandoned_by,
    )


async def store(
    session: AsyncSession,
    held: Claim,
    *,
    access_token_enc: bytes,
    refresh_token_enc: bytes | None,
    expires_in_seconds: int,
    scope: str | None,
) -> bool:
    """Store new tokens if the version is still the one claimed; say whether it was.

    None keeps what is there. A holder that took the lease over meanwhile keeps it: their call is under way.
    """
    is_mine = Grant.lease_owner == held.owner
    statement = (
        update(Grant)
        .where(Grant.id == held.grant_id, Grant.token_version == held.token_version)
        .values(
            access_token_enc=access_token_enc,
            refresh_token_enc=func.coalesce(refresh_token_enc, Grant.refresh_token_enc),
            expires_at=func.now() + timedelta(seconds=expires_in_seconds),
            scope=func.coalesce(scope, Grant.scope),
            token_version=Grant.token_version + 1,
            status=GrantStatus.OK,
            last_error=None,
            attempt_id=None,
            lease_owner=case((is_mine, None), else_=Grant.lease_owner),
            lease_until=case((is_mine, None), else_=Grant.lease_until),
        )
        .returning(Grant.id)
        .execution_options(synchronize_session=False)
    )
    return (await session.execute(statement)).one_or_none() is not None


async def refuse(session: AsyncSession, held: Claim, *, status: GrantStatus, reason: str) -> bool:
    """End the grant as the provider's verdict on the claimed version; say whether it was ours to end."""
    statement = (
        update(Grant)
        .where(
            Grant.id == held.grant_id,
            Grant.token_version == held.token_version,
            Grant.lease_owner == held.owner,
        )
        .values(
            status=status, last_error=reason, attempt_id=None, lease_owner=None, lease_until=None
        )
        .returning(Grant.id)
        .execution_options(synchronize_session=False)
    )
    return (await session.execute(statement)).one_or_none() is not None


async def release(
    session: AsyncSession, held: Claim, *, unanswered_attempt: UUID | None, error: str
) -> None:
    """Give the lease back without tokens, unless somebody has taken it over."""
    statement = (
        update(Grant)
        .where(Grant.id == held.grant_id, Grant.lease_owner == held.owner)
        .values(
            attempt_id=unanswered_attempt, last_error=error, lease_owner=None, lease_until=None
        )
        .execution_options(synchronize_session=False)
    )
    await session.execute(statement)
