"""Calendars and the events in them: seeded, then changed one change at a time. Pure.

A calendar belongs to a user, not to a grant: who connects again finds the same events and may go
on with the old sync token. Everything follows from seed, user, creation time and the list of
changes, so that list is all that needs keeping. `events` is ordered by last change, which is what
makes pages and sync tokens consistent: an event that changes in mid-listing leaves the listing and
turns up in the next sync.
"""

import base64
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, Literal

Body = dict[str, Any]
ChangeKind = Literal["create", "update", "delete", "invalidate"]

# Zones that keep one offset all year, so that no time zone database is needed to be right.
_ZONES = (("UTC", 0.0), ("Asia/Tokyo", 9.0), ("America/Bogota", -5.0), ("Asia/Kolkata", 5.5))
_SUBJECTS = ("Planning", "Review", "Stand-up", "Interview", "Retrospective", "Lunch", "Dentist")
_PEOPLE = ("with Ada", "with Grace", "with the whole team", "(moved)", "- naïve ☕ edition", "")
_DAYS_BACK, _DAYS_AHEAD = 14, 45


@dataclass(frozen=True)
class Change:
    """One change of a calendar. at: seconds since 1970; event_id: of an update or delete."""

    kind: ChangeKind
    at: float
    event_id: str = ""


@dataclass(frozen=True)
class Event:
    """change: number of the last change. starts, ends: seconds since 1970."""

    change: int
    body: Body
    starts: float
    ends: float

    @property
    def is_deleted(self) -> bool:
        return bool(self.body["status"] == "cancelled")


@dataclass
class Calendar:
    """seed, user, created_at and initial_events decide the first events."""

    seed: str
    user: str
    created_at: float
    initial_events: int
    change: int = 0
    """Number of the last change."""
    epoch: int = 0
    """Sync tokens of an earlier epoch get 410."""
    events: dict[str, Event] = field(default_factory=dict)
    changes: list[Change] = field(default_factory=list)
    _made: int = 0

    def __post_init__(self) -> None:
        for _ in range(self.initial_events):
            self._create(self.created_at)

    def apply(self, change: Change) -> str:
        """Make one change; return the id of the event it concerns, or "" for an invalidation."""
        self.changes.append(change)
        match change.kind:
            case "create":
                return self._create(change.at)
            case "update":
                self._update(self.events[change.event_id], change.at)
            case "delete":
                self._put({**_tombstone(change.event_id), "etag": self._etag()}, 0.0, 0.0)
            case "invalidate":
                self.epoch += 1
        return change.event_id

    def stalest(self, count: int) -> list[str]:
        """Ids of the live events that have been unchanged for longest, at most count of them."""
        alive = [event_id for event_id, event in self.events.items() if not event.is_deleted]
        return alive[:count]

    def _create(self, at: float) -> str:
        self._made += 1
        chance = random.Random(f"{self.seed}/{self.user}/{self._made}")  # noqa: S311 - repeatable events, not secrets
        body, starts, ends = _new_event(chance, user=self.user, day_zero=self.created_at, at=at)
        return self._put({**body, "etag": self._etag()}, starts, ends)

    def _update(self, event: Event, at: float) -> None:
        """Rename and, as people do, move a timed event by an hour."""
        sequence = event.body["sequence"] + 1
        body = {
            **event.body,
            "etag": self._etag(),
            "updated": rfc3339(at),
            "sequence": sequence,
            "summary": f"{event.body['summary'].split(' [')[0]} [{sequence}]",
        }
        shift_seconds = 0
        if "dateTime" in body["start"]:
            shift_seconds = 3600
            body["start"] = _moved(body["start"], shift_seconds)
            body["end"] = _moved(body["end"], shift_seconds)
        self._put(body, event.starts + shift_seconds, event.ends + shift_seconds)

    def _put(self, body: Body, starts: float, ends: float) -> str:
        self.change += 1
        event_id = str(body["id"])
        self.events.pop(event_id, None)
        self.events[event_id] = Event(self.change, body, starts, ends)
        return event_id

    def _etag(self) -> str:
        return f'"{(int(self.created_at) + self.change + 1) * 2000}"'


class Calendars:
    """The calendars of all users."""

    def __init__(
        self,
        *,
        seed: str,
        now: Callable[[], float],
        save: Callable[[Calendar], None] | None = None,
        save_change: Callable[[str, Change], None] | None = None,
    ) -> None:
        """save: called with each new calendar; save_change: with user and change after each."""
        self._seed = seed
        self._now = now
        self._save = save or (lambda _calendar: None)
        self._save_change = save_change or (lambda _user, _change: None)
        self._calendars: dict[str, Calendar] = {}

    def load(
        self, user: str, *, created_at: float, initial_events: int, changes: Iterable[Change]
    ) -> None:
        calendar = Calendar(self._seed, user, created_at, initial_events)
        for change in changes:
            calendar.apply(change)
        self._calendars[user] = calendar

    def open(self, user: str, *, initial_events: int = 0) -> Calendar:
        """The user's calendar; made with so many events when there is none yet."""
        calendar = self._calendars.get(user)
        if calendar is None:
            calendar = Calendar(self._seed, user, self._now(), initial_events)
            self._calendars[user] = calendar
            self._save(calendar)
        return calendar

    def change(self, calendar: Calendar, kind: ChangeKind, event_id: str = "") -> str:
        change = Change(kind, self._now(), event_id)
        changed_id = calendar.apply(change)
        self._save_change(calendar.user, change)
        return changed_id


def rfc3339(seconds: float) -> str:
    """UTC with milliseconds, as Google writes `created` and `updated`."""
    text = datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")


def _new_event(
    chance: random.Random, *, user: str, day_zero: float, at: float
) -> tuple[Body, float, float]:
    """Body without etag, start and end. One event in five lasts whole days; the rest 15-120
    minutes.
    """
    event_id = base64.b32hexencode(chance.randbytes(16)).decode().rstrip("=").lower()
    zone_name, offset_hours = chance.choice(_ZONES)
    zone = timezone(timedelta(hours=offset_hours))
    midnight = datetime.fromtimestamp(day_zero, UTC).replace(
        hour=0, minute=0, second=0, microsecond=0
    )
    day = midnight + timedelta(days=chance.randint(-_DAYS_BACK, _DAYS_AHEAD))
    start: Body
    end: Body
    if chance.random() < 0.2:
        first, last = day, day + timedelta(days=chance.randint(1, 3))
        start, end = {"date": f"{first:%Y-%m-%d}"}, {"date": f"{last:%Y-%m-%d}"}
    else:
        first = day + timedelta(minutes=15 * chance.randint(32, 72))
        last = first + timedelta(minutes=15 * chance.randint(1, 8))
        start = {"dateTime": _google_time(first.astimezone(zone)), "timeZone": zone_name}
        end = {"dateTime": _google_time(last.astimezone(zone)), "timeZone": zone_name}
    address = user if "@" in user else f"{user}@calendar.test"
    owner = {"email": address, "self": True}
    body = {
        "kind": "calendar#event",
        "id": event_id,
        "status": chance.choices(("confirmed", "tentative"), (9, 1))[0],
        "htmlLink": f"https://www.google.com/calendar/event?eid={event_id}",
        "created": rfc3339(at),
        "updated": rfc3339(at),
        "summary": f"{chance.choice(_SUBJECTS)} {chance.choice(_PEOPLE)}".strip(),
        "creator": owner,
        "organizer": owner,
        "start": start,
        "end": end,
        "iCalUID": f"{event_id}@google.com",
        "sequence": 0,
        "reminders": {"useDefault": True},
        "eventType": "default",
    }
    if chance.random() < 0.3:
        body["location"] = f"Room {chance.randint(1, 20)}"
    return body, first.timestamp(), last.timestamp()


def _tombstone(event_id: str) -> Body:
    """All that Google promises of a deleted event is its id."""
    return {"kind": "calendar#event", "id": event_id, "status": "cancelled"}


def _moved(when: Body, seconds: int) -> Body:
    moved = datetime.fromisoformat(when["dateTime"]) + timedelta(seconds=seconds)
    return {**when, "dateTime": _google_time(moved)}


def _google_time(when: datetime) -> str:
    return when.isoformat(timespec="seconds").replace("+00:00", "Z")
