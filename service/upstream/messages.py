"""What Google's token endpoint and Calendar v3 say when all is well, checked field by field.

Only the fields that the service uses are declared; others are ignored, because Google adds some. A
newcomer's usual mistake is to trust a 200: a wrong type stored today is a failed answer tomorrow.
"""

from datetime import UTC, date, datetime, time
from typing import Annotated, Literal, Self
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

MAX_SUMMARY_CHARACTERS = 1000
MAX_LIFETIME_SECONDS = 366 * 86400
"""Google's access tokens live an hour; a life beyond a year is a mistake, not a token."""

# Strict: no "42" for 42. Hidden inputs: a validation error's text would carry the token.
_ANSWER = ConfigDict(strict=True, frozen=True, hide_input_in_errors=True, extra="ignore")

# Visible ASCII only: it goes into a header, where a line break would be a second header.
TokenText = Annotated[str, Field(pattern=r"^[\x21-\x7e]{1,4096}$")]
Opaque = Annotated[str, Field(pattern=r"^[\x20-\x7e]{1,1024}$")]


def _without_nul(text: str) -> str:
    # PostgreSQL cannot store it, and a title without it is the same title.
    return text.replace("\x00", "")[:MAX_SUMMARY_CHARACTERS]


class Tokens(BaseModel):
    """A successful answer of the token endpoint."""

    model_config = _ANSWER

    access_token: TokenText = Field(repr=False)
    expires_in: int = Field(ge=0, le=MAX_LIFETIME_SECONDS)
    """Seconds from now."""
    token_type: Annotated[str, Field(pattern=r"^[Bb]earer$")]
    scope: str | None = Field(default=None, max_length=4096, pattern=r"^[\x20-\x7e]*$")
    """Space separated; None: as before (RFC 6749 §5.1)."""
    refresh_token: TokenText | None = Field(default=None, repr=False)
    """None: the old one stays valid (RFC 6749 §6)."""


class Moment(BaseModel):
    """A time of day or a whole day, as Google writes the start and the end of an event."""

    model_config = _ANSWER

    day: date | None = Field(default=None, alias="date")
    instant: datetime | None = Field(default=None, alias="dateTime")
    time_zone: str | None = Field(default=None, alias="timeZone", max_length=64)

    @model_validator(mode="after")
    def _is_one_of_both(self) -> Self:
        if (self.day is None) == (self.instant is None):
            raise ValueError("either date or dateTime")
        self.in_utc()
        return self

    def in_utc(self) -> datetime:
        """Return the instant; a whole day starts at midnight UTC, wherever the calendar is."""
        if self.day is not None:
            return datetime.combine(self.day, time.min, UTC)
        if self.instant is None:
            raise ValueError("either date or dateTime")
        instant = self.instant
        if instant.tzinfo is None:
            try:
                instant = instant.replace(tzinfo=ZoneInfo(self.time_zone or "UTC"))
            except (KeyError, OSError) as error:  # no such zone, or a name that is a directory
                raise ValueError("unknown time zone") from error
        try:
            return instant.astimezone(UTC)
        except OverflowError as error:
            raise ValueError("beyond the calendar") from error


class CalendarEvent(BaseModel):
    """One entry of a page. A deleted event has nothing but its id and `cancelled`."""

    model_config = _ANSWER

    id: Opaque
    etag: Opaque = ""
    status: Literal["confirmed", "tentative", "cancelled"]
    summary: Annotated[str, AfterValidator(_without_nul)] | None = None
    start: Moment | None = None
    end: Moment | None = None

    @model_validator(mode="after")
    def _has_times(self) -> Self:
        if not self.is_deleted and (self.start is None or self.end is None):
            raise ValueError("an event needs start and end")
        return self

    @property
    def is_deleted(self) -> bool:
        return self.status == "cancelled"


class EventsPage(BaseModel):
    """One page of events.list: the last one has the sync token, every other the next page's."""

    model_config = _ANSWER

    items: tuple[CalendarEvent, ...] = ()
    next_page_token: Opaque | None = Field(default=None, alias="nextPageToken")
    next_sync_token: Opaque | None = Field(default=None, alias="nextSyncToken")

    @model_validator(mode="after")
    def _goes_on_or_ends(self) -> Self:
        if (self.next_page_token is None) == (self.next_sync_token is None):
            raise ValueError("either nextPageToken or nextSyncToken")
        return self
