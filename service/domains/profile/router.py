"""The caller's profile over HTTP."""

import unicodedata
from datetime import datetime
from zoneinfo import available_timezones

from pydantic import BaseModel, field_validator

from service import failures
from service.domains.profile import operations
from service.domains.profile.operations import Person
from service.responses import checked, problems
from service.schemas import Model, router, text
from service.security import Work
from service.security.claims import is_email

routes = router("/api/v1/profile", "profile")

_TIME_ZONES = frozenset(available_timezones())


class ProfileIn(Model):
    display_name: text(min_length=1, max_length=120)  # type: ignore[valid-type]
    time_zone: text(min_length=1, max_length=64) = "UTC"  # type: ignore[valid-type]
    locale: text(min_length=2, max_length=6) = "en"  # type: ignore[valid-type]
    bio: text(max_length=2000) | None = None  # type: ignore[valid-type]
    email: text(min_length=3, max_length=254) | None = None  # type: ignore[valid-type]
    """A new address to sign in with; left out, it stays."""

    @field_validator("email")
    @classmethod
    def _is_address(cls, value: str | None) -> str | None:
        if value is not None and not is_email(value):
            message = "must be an e-mail address"
            raise ValueError(message)
        return value if value is None else unicodedata.normalize("NFC", value)

    @field_validator("time_zone")
    @classmethod
    def _known(cls, value: str) -> str:
        if value not in _TIME_ZONES:
            message = "must be an IANA time zone"
            raise ValueError(message)
        return value


class ProfileOut(BaseModel):
    account_id: int
    email: str
    display_name: str
    time_zone: str
    locale: str
    bio: str | None
    updated_at: datetime


@routes.get("", responses=problems(failures.PROFILE_MISSING))
async def read_profile(work: Work) -> ProfileOut:
    """Return the caller's profile."""
    return _answer(await work.read(operations.profile_of))


@routes.put("", responses=problems(failures.EMAIL_CONFLICT, body=True, write=True))
async def replace_profile(body: ProfileIn, work: Work) -> ProfileOut:
    """Create or replace the caller's profile; `email` also changes the address to sign in with."""
    return _answer(await work.write(operations.replace_profile, **body.model_dump()))


def _answer(person: Person) -> ProfileOut:
    """Raises Failure(STORED_DATA_INVALID) for a row that does not fit, naming its fields."""
    stored = {
        name: getattr(person.profile, name) for name in ProfileOut.model_fields if name != "email"
    }
    return checked(ProfileOut, {**stored, "email": person.email})
