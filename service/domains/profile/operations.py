"""Use cases of the profile."""

from dataclasses import dataclass

from sqlalchemy import func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from service import failures
from service.accounts import Account
from service.domains.profile.models import Profile
from service.failures import Failure
from service.security import Caller


@dataclass(frozen=True, slots=True)
class Person:
    """A profile with the address that its account signs in with."""

    profile: Profile
    email: str


async def profile_of(session: AsyncSession, caller: Caller) -> Person:
    """Return the caller's profile. Raises Failure(PROFILE_MISSING)."""
    profile = await session.scalar(select(Profile).where(Profile.account_id == caller.account_id))
    if profile is None:
        raise Failure(failures.PROFILE_MISSING)
    return Person(profile, caller.email)


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
        await session.execute(
            update(Account).where(Account.id == caller.account_id).values(email=email)
        )
    values = {
        "display_name": display_name,
        "time_zone": time_zone,
        "locale": locale,
        "bio": bio,
        "updated_at": func.now(),
    }
    statement = (
        insert(Profile)
        .values(account_id=caller.account_id, **values)
        .on_conflict_do_update(index_elements=[Profile.account_id], set_=values)
        .returning(Profile)
    )
    profile = (await session.scalars(statement)).one()
    return Person(profile, email or caller.email)
