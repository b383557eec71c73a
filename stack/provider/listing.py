"""`events.list` of Calendar v3: its parameters, its page and sync tokens, its pages. Pure.

A listing is fixed when its first page is asked for: it shows the changes after `since` up to
`upto`, oldest first, and its last page hands out `upto` as the sync token. A parameter of the real
API that is not simulated gets a 400 that says so, rather than an answer that quietly ignores it.
"""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson

from stack.provider import wire
from stack.provider.events import Body, Calendar, Event, rfc3339

DEFAULT_PAGE_SIZE, LARGEST_PAGE_SIZE = 250, 2500
"""Google's own."""

_KNOWN = {
    *("maxResults", "pageToken", "showDeleted", "singleEvents", "syncToken"),
    *("timeMax", "timeMin", "alt", "prettyPrint", "fields"),
}
_NOT_WITH_SYNC_TOKEN = ("timeMin", "timeMax")


class ListingRefused(Exception):
    """The calendar says no, with this answer."""

    def __init__(self, answer: wire.Answer) -> None:
        super().__init__(answer.status)
        self.answer = answer


@dataclass(frozen=True)
class Bounds:
    """Which part of a calendar a listing shows. Times in seconds since 1970, None for open."""

    since: int
    upto: int
    after: int
    show_deleted: bool
    time_min: float | None
    time_max: float | None

    def shows(self, event: Event) -> bool:
        if not self.after < event.change <= self.upto:
            return False
        if event.is_deleted:
            return self.show_deleted
        too_early = self.time_min is not None and event.ends <= self.time_min
        too_late = self.time_max is not None and event.starts >= self.time_max
        return not (too_early or too_late)


def list_events(
    calendar: Calendar, query: Mapping[str, str], *, page_events: int | None = None
) -> Body:
    """One page. Raises ListingRefused with Google's 400 or 410.

    page_events: at most so many, whatever is asked for, as Google may.
    """
    for name in query:
        if name not in _KNOWN:
            message = (
                f"Unknown name '{name}', or not simulated; known: {', '.join(sorted(_KNOWN))}."
            )
            raise ListingRefused(wire.invalid_parameter(name, message))
    page_size = min(_page_size(query.get("maxResults")), page_events or LARGEST_PAGE_SIZE)
    bounds = _bounds(calendar, query)

    shown = [event for event in calendar.events.values() if bounds.shows(event)]
    items, rest = shown[:page_size], shown[page_size:]
    page: Body = {
        "kind": "calendar#events",
        "etag": f'"p{calendar.epoch}-{bounds.upto}"',
        "summary": calendar.user,
        "description": "",
        "updated": rfc3339(calendar.changes[-1].at if calendar.changes else calendar.created_at),
        "timeZone": "UTC",
        "accessRole": "owner",
        "defaultReminders": [{"method": "popup", "minutes": 10}],
    }
    times = [bounds.time_min, bounds.time_max]
    if rest:
        position = [bounds.since, bounds.upto, items[-1].change, bounds.show_deleted]
        page["nextPageToken"] = _seal(calendar, ["page", calendar.epoch, *position, *times])
    else:
        page["nextSyncToken"] = _seal(calendar, ["sync", calendar.epoch, bounds.upto, *times])
    return {**page, "items": [event.body for event in items]}


def _bounds(calendar: Calendar, query: Mapping[str, str]) -> Bounds:
    show_deleted = _boolean(query, "showDeleted")
    _boolean(query, "singleEvents")  # no event recurs, so both values list the same
    if "pageToken" in query:
        _epoch, *bounds = _open(calendar, "page", query["pageToken"])
        return Bounds(*bounds)
    if "syncToken" in query:
        for name in _NOT_WITH_SYNC_TOKEN:
            if name in query:
                message = f"Sync token cannot be used with '{name}'."
                raise ListingRefused(wire.invalid_parameter(name, message, reason="badRequest"))
        if show_deleted is False:
            message = "Sync token cannot be used with showDeleted=false."
            raise ListingRefused(
                wire.invalid_parameter("showDeleted", message, reason="badRequest")
            )
        epoch, since, *times = _open(calendar, "sync", query["syncToken"])
        if epoch < calendar.epoch or since > calendar.change:
            raise ListingRefused(wire.FULL_SYNC_REQUIRED)
        return Bounds(since, calendar.change, since, True, *times)
    time_min, time_max = _instant(query, "timeMin"), _instant(query, "timeMax")
    if time_min is not None and time_max is not None and time_max <= time_min:
        raise ListingRefused(
            wire.calendar_error(
                400,
                "timeRangeEmpty",
                "The specified time range is empty.",
                domain="calendar",
                location=("parameter", "timeMax"),
            )
        )
    return Bounds(0, calendar.change, 0, bool(show_deleted), time_min, time_max)


def _page_size(text: str | None) -> int:
    if text is None:
        return DEFAULT_PAGE_SIZE
    if text.isascii() and text.isdigit() and len(text) < 10 and int(text) >= 1:
        return min(int(text), LARGEST_PAGE_SIZE)
    message = f"Invalid value. Values must be within the range: [1, {LARGEST_PAGE_SIZE}]"
    raise ListingRefused(wire.invalid_parameter("maxResults", message))


def _boolean(query: Mapping[str, str], name: str) -> bool | None:
    text = query.get(name)
    if text in {None, "true", "false"}:
        return None if text is None else text == "true"
    message = "Invalid boolean value. It must be 'true' or 'false'."
    raise ListingRefused(wire.invalid_parameter(name, message))


def _instant(query: Mapping[str, str], name: str) -> float | None:
    """RFC 3339 with an offset, as Google demands, in seconds since 1970."""
    text = query.get(name)
    if text is None:
        return None
    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        instant = None
    if instant is None or instant.tzinfo is None:
        message = "Bad Request: not an RFC 3339 timestamp with a time zone offset."
        raise ListingRefused(wire.invalid_parameter(name, message, reason="badRequest"))
    return instant.timestamp()


def _seal(calendar: Calendar, content: list[object]) -> str:
    payload = orjson.dumps(content)
    return base64.urlsafe_b64encode(_mac(calendar, payload) + payload).decode()


def _open(calendar: Calendar, kind: str, token: str) -> list[Any]:
    """What the token carries after its kind. Raises ListingRefused when it was not sealed here."""
    try:
        sealed = base64.b64decode(token.encode("ascii"), altchars=b"-_", validate=True)
    except (binascii.Error, UnicodeEncodeError):
        sealed = b""
    mac, payload = sealed[:8], sealed[8:]
    if hmac.compare_digest(mac, _mac(calendar, payload)):
        found_kind, *content = orjson.loads(payload)
        if found_kind == kind:
            return list(content)
    message = f"Invalid {kind} token value."
    raise ListingRefused(wire.invalid_parameter(f"{kind}Token", message, reason="invalid"))


def _mac(calendar: Calendar, payload: bytes) -> bytes:
    """Eight bytes tell a token of this calendar from garbage and from another calendar's."""
    key = f"provider listing {calendar.seed} {calendar.user}".encode()
    return hmac.new(key, payload, hashlib.sha256).digest()[:8]
