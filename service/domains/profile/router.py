"""The caller's profile over HTTP."""

from typing import Annotated

from pydantic import AwareDatetime, BaseModel, Field

from service import failures
from service.domains.profile import operations
from service.domains.profile.fields import Email, Locale, TimeZone
from service.domains.profile.operations import Person
from service.problems import problems
from service.responses import checked
from service.schemas import Model, Text, router
from service.security import Work

routes = router("/api/v1/profile", "profile")


class ProfileIn(Model):
    """email: a new address to sign in with; left out, it stays."""

    display_name: Annotated[str, Text(min_length=1, max_length=120)]
    time_zone: TimeZone = "UTC"
    locale: Locale = "en"
    bio: Annotated[str, Text(max_length=2000)] | None = None
    email: Email | None = None


class ProfileOut(BaseModel):
    account_id: int
    email: Annotated[str, Field(json_schema_extra={"format": "email"})]
    display_name: str
    time_zone: str
    locale: str
    bio: str | None
    updated_at: AwareDatetime


@routes.get("", responses=problems(failures.PROFILE_MISSING))
async def read_profile(work: Work) -> ProfileOut:
    """Return the caller's profile."""
    return _answer(await operations.profile_of(work))


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
