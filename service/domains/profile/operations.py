"""Use cases of the profile."""

from dataclasses import dataclass

from sqlalchemy import bindparam, outerjoin, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from service import failures
from service.accounts import Account
from service.database import AnyRow
from service.domains.profile.models import Profile
from service.failures import Failure
from service.security import Caller, CallerQuery, UnitOfWork

_PROFILES = Profile.__table__
_PROFILE = CallerQuery(
    *_PROFILES.c, source=outerjoin(Account, Profile, Profile.account_id == Account.id)
)
_CHANGE_EMAIL = (
    update(Account.__table__)
    .where(Account.id == bindparam("account_id"))
    .values(email=bindparam("new_email"))
)
_INSERT = insert(_PROFILES)
_REPLACE = _INSERT.on_conflict_do_update(
    index_elements=[Profile.account_id],
    # `updated_at` too: of what is not given, the proposed row has the default, which is now().
    set_={column.name: _INSERT.excluded[column.name] for column in _PROFILES.c[1:]},
).returning(*_PROFILES.c)


@dataclass(frozen=True, slots=True)
class Person:
    """A profile with the address that its account signs in with."""

    profile: AnyRow
    email: str


async def profile_of(work: UnitOfWork) -> Person:
    """Return the caller's profile. Raises Failure(PROFILE_MISSING)."""
    (profile,) = await work.read(_PROFILE)
    if profile.account_id is None:
        raise Failure(failures.PROFILE_MISSING)
    return Person(profile, profile.caller_email)


async def replace_profile(
    session: AsyncSession,
    caller: Caller,
    *,
    display_name: str,
    time_zone: str,
    locale: str,
    bio: str | None,
    email: str | None,
) -> Person:
    """Create or replace the caller's profile.

    email: a new address to sign in with, None to keep the old one. Tokens name the address they were
    issued for, so those of the old one end with the change; sessions go on.
    Raises Failure: EMAIL_CONFLICT, REFERENCE_MISSING if the account went away.
    """
    if email is not None and email != caller.email:
        # Two callers may ask for the same address at once: the unique index decides.
        await session.execute(_CHANGE_EMAIL, {"account_id": caller.account_id, "new_email": email})
    values = {
        "account_id": caller.account_id,
        "display_name": display_name,
        "time_zone": time_zone,
        "locale": locale,
        "bio": bio,
    }
    profile = (await session.execute(_REPLACE, values)).one()
    return Person(profile, email or caller.email)
