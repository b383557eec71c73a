"""What Google's token endpoint and Calendar v3 say when all is well, checked field by field.

Only the fields that the service uses are declared; others are ignored, because Google adds some. A
newcomer makes one of two mistakes: to trust a 200 (a wrong type stored today is a failed answer tomorrow),
or to refuse all of an answer for one part of it. An event that cannot be read is skipped and named; of new
tokens only the tokens themselves have to be right, because an answer thrown away may cost the grant.
"""

import json
import math
from datetime import UTC, date, datetime, time
from typing import Annotated, Any, Literal, Self
from zoneinfo import ZoneInfo

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)
from pydantic_core import PydanticCustomError, from_json

from service import metrics

MAX_SUMMARY_CHARACTERS = 1000
MAX_LIFETIME_SECONDS = 366 * 86400
"""Google's access tokens live an hour; more than a year is cut to this."""
LIFETIME_SECONDS = 3600
"""Assumed life of an access token where the answer does not say it readably: Google's habit. A token that
ends earlier is refused with a 401, which leads to a refresh."""

# Strict: no "42" for 42. Hidden inputs: a validation error's text would carry the token.
_ANSWER = ConfigDict(strict=True, frozen=True, hide_input_in_errors=True, extra="ignore")

# Visible ASCII only: it goes into a header, where a line break would be a second header.
TokenText = Annotated[str, Field(pattern=r"^[\x21-\x7e]{1,4096}$")]
Opaque = Annotated[str, Field(pattern=r"^[\x20-\x7e]{1,1024}$")]
PageToken = Annotated[str, Field(pattern=r"^[\x20-\x7e]{1,4096}$")]


class Message(BaseModel):
    """An answer of the provider. `read` raises ValueError for one that is not as promised."""

    model_config = _ANSWER

    @classmethod
    def read(cls, body: bytes) -> Self:
        return cls.model_validate_json(body)


def _seconds(value: object) -> int:
    """Return whole seconds from 0 on, out of a number or its text; a negative life is over."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return LIFETIME_SECONDS
    try:
        seconds = float(value)
    except (ValueError, OverflowError):
        return LIFETIME_SECONDS
    if math.isnan(seconds):
        return LIFETIME_SECONDS
    return int(min(max(seconds, 0), MAX_LIFETIME_SECONDS))


def _text_or_none(value: object) -> object:
    """Return None for what stands for nothing: the empty string, white space."""
    return value if not isinstance(value, str) or value.strip() else None


def _plain_or_none(value: object) -> str | None:
    """Return printable ASCII of 1 to 4,096 characters; None for anything else."""
    is_plain = isinstance(value, str) and value.isascii() and value.isprintable()
    return value if isinstance(value, str) and is_plain and 0 < len(value) <= 4096 else None


class Tokens(Message):
    """A successful answer of the token endpoint."""

    access_token: TokenText = Field(repr=False)
    expires_in: Annotated[int, BeforeValidator(_seconds)] = LIFETIME_SECONDS
    """Seconds from now."""
    token_type: Annotated[str, Field(pattern=r"^(?i:bearer)$")] = "Bearer"  # noqa: S105 - a kind of token
    scope: Annotated[
        str | None, BeforeValidator(_text_or_none), BeforeValidator(_plain_or_none)
    ] = None
    """Space separated; None: as asked for, or as before (RFC 6749 §5.1)."""
    refresh_token: Annotated[TokenText | None, BeforeValidator(_text_or_none)] = Field(
        default=None, repr=False
    )
    """None: the old one stays valid (RFC 6749 §6)."""


def _day(value: object) -> object:
    return _parsed(value, date.fromisoformat)


def _instant(value: object) -> object:
    return _parsed(value, datetime.fromisoformat)


def _parsed(value: object, parse: Any) -> object:
    """Return what Python reads in the text: offsets with seconds, as of 1880, included."""
    if value is None:
        return None
    try:
        return parse(value)
    except (TypeError, ValueError) as error:
        raise PydanticCustomError("not_a_time", "not a date or time") from error


class Moment(BaseModel):
    """A time of day or a whole day, as Google writes the start and the end of an event."""

    model_config = _ANSWER

    day: Annotated[date | None, BeforeValidator(_day)] = Field(default=None, alias="date")
    instant: Annotated[datetime | None, BeforeValidator(_instant)] = Field(
        default=None, alias="dateTime"
    )
    time_zone: Any = Field(default=None, alias="timeZone")
    """Looked at only where the instant has no offset of its own."""

    @model_validator(mode="after")
    def _is_one_of_both(self) -> Self:
        if self.day is None and self.instant is None:
            raise PydanticCustomError("no_times", "neither date nor dateTime")
        if self.day is not None and self.instant is not None:
            raise PydanticCustomError("not_a_time", "both date and dateTime")
        self.in_utc()
        return self

    def in_utc(self) -> datetime:
        """Return the instant; a whole day starts at midnight UTC, wherever the calendar is."""
        if self.instant is None:
            return datetime.combine(self.day or date.min, time.min, UTC)
        try:
            if self.instant.tzinfo is not None:
                return self.instant.astimezone(UTC)
            return self.instant.replace(tzinfo=_zone(self.time_zone)).astimezone(UTC)
        except OverflowError as error:
            raise PydanticCustomError("out_of_range", "beyond the years 1 to 9999") from error


def _zone(name: object) -> ZoneInfo:
    """Return the zone of an IANA name; UTC where there is none. Windows' names are not guessed."""
    try:
        return ZoneInfo(str(name or "UTC"))
    except (
        KeyError,
        OSError,
        ValueError,
    ) as error:  # OSError: a directory, or too long for a file
        raise PydanticCustomError("unknown_time_zone", "no IANA time zone") from error


def _storable(value: object) -> object:
    """Return the title without what PostgreSQL cannot store: NUL, and halves of surrogate pairs."""
    if not isinstance(value, str):
        return value
    whole = value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return whole.replace("\x00", "")[:MAX_SUMMARY_CHARACTERS]


class CalendarEvent(BaseModel):
    """One entry of a page. A deleted event has nothing but its id and `cancelled`."""

    model_config = _ANSWER

    id: Opaque
    etag: Annotated[str | None, BeforeValidator(_plain_or_none)] = None
    status: Literal["confirmed", "tentative", "cancelled"] = "confirmed"
    summary: Annotated[str | None, BeforeValidator(_storable)] = None
    start: Moment | None = None
    end: Moment | None = None

    @model_validator(mode="before")
    @classmethod
    def _only_what_counts(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        if value.get("status") == "cancelled":
            return {"id": value.get("id"), "status": "cancelled"}
        return {name: part for name, part in value.items() if part is not None}

    @model_validator(mode="after")
    def _has_times(self) -> Self:
        if not self.is_deleted and (self.start is None or self.end is None):
            raise PydanticCustomError("no_times", "an event needs start and end")
        return self

    @property
    def is_deleted(self) -> bool:
        return self.status == "cancelled"


class SkippedEvent(BaseModel):
    """An entry that cannot be read. reason: of `metrics.SKIP_REASONS`; field: which, as `start.date`."""

    model_config = _ANSWER

    id: str | None
    field: str
    reason: str


STRANGERS_MIN = 5
"""So many entries of a page without a readable id among them are a broken contract; fewer are skipped,
because a change of one odd event comes as a page of its own, for ever if it were refused."""
_PAGE_PARTS = ("items", "nextPageToken", "nextSyncToken")


class EventsPage(Message):
    """One page of events.list. The last has no next page; without a sync token the next sync is full."""

    items: tuple[CalendarEvent, ...] = ()
    skipped: tuple[SkippedEvent, ...] = ()
    next_page_token: Annotated[PageToken | None, BeforeValidator(_text_or_none)] = None
    next_sync_token: Annotated[str | None, BeforeValidator(_plain_or_none)] = None
    """None also for one that could not be sent back."""

    @classmethod
    def read(cls, body: bytes) -> Self:
        content = _mended_json(body)
        items = content.get("items") if isinstance(content, dict) else None
        # An object without all of it is no page; taken for an empty one, it would empty a calendar.
        is_page = isinstance(content, dict) and not content.keys().isdisjoint(_PAGE_PARTS)
        if not is_page or not isinstance(items or [], list):
            raise ValueError("not a page of events")
        read = [_event(item) for item in items or []]
        if len(read) >= STRANGERS_MIN and not any(event.id for event in read):
            raise ValueError("no entry is an event")
        return cls(
            items=tuple(event for event in read if isinstance(event, CalendarEvent)),
            skipped=tuple(event for event in read if isinstance(event, SkippedEvent)),
            next_page_token=content.get("nextPageToken"),
            next_sync_token=content.get("nextSyncToken"),
        )


def _event(item: object) -> CalendarEvent | SkippedEvent:
    try:
        return CalendarEvent.model_validate(item)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        reason = first["type"] if first["type"] in metrics.SKIP_REASONS else "malformed"
        field = ".".join(str(part) for part in first["loc"])
        return SkippedEvent(id=_readable_id(item), field=field or "start,end", reason=reason)


def _readable_id(item: object) -> str | None:
    event_id = item.get("id") if isinstance(item, dict) else None
    try:
        return CalendarEvent(id=event_id, status="cancelled").id
    except ValidationError:
        return None


def _mended_json(body: bytes) -> Any:
    """Return the content, read leniently where one person's text is not clean JSON.

    Half a surrogate pair, a raw line break and a byte that is not UTF-8 do not make the other events of
    a page unreadable. Raises ValueError.
    """
    try:
        return from_json(body)
    except ValueError:
        pass
    try:
        return json.loads(body.decode("utf-8-sig", "replace"), strict=False)
    except RecursionError as error:
        raise ValueError("too deep") from error
