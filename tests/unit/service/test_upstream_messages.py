from datetime import UTC, datetime

import pytest
from pydantic import ValidationError

from service import metrics
from service.upstream.messages import (
    LIFETIME_SECONDS,
    MAX_LIFETIME_SECONDS,
    MAX_SUMMARY_CHARACTERS,
    CalendarEvent,
    EventsPage,
    Tokens,
)
from stack.provider import wire
from stack.provider.oddities import ODD_EVENTS, odd_event

TOKENS = b'{"access_token": "at", "expires_in": 3599, "token_type": "Bearer"}'
DAY = '{"date": "2026-11-24"}'


def event(**parts: str) -> bytes:
    members = {"id": '"e1"', "status": '"confirmed"', "start": DAY, "end": DAY, **parts}
    return (
        "{" + ", ".join(f'"{name}": {value}' for name, value in members.items()) + "}"
    ).encode()


def test_a_refresh_without_a_new_token_keeps_the_old_one() -> None:
    tokens = Tokens.model_validate_json(TOKENS)

    assert tokens.refresh_token is None
    assert tokens.scope is None


def test_tokens_do_not_show_in_a_representation() -> None:
    tokens = Tokens.model_validate_json(TOKENS.replace(b'"at"', b'"at-secret"'))

    assert "at-secret" not in repr(tokens)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"at"', b"12345"),
        (b'"at"', b'""'),
        (b'"at"', b'"a\\r\\nX-Injected: 1"'),
        (b'"at"', b'"\\ud83d\\ude00"'),
        (b'"Bearer"', b'"mac"'),
        (b'"Bearer"', b'["Bearer"]'),
    ],
)
def test_tokens_of_another_shape_are_refused_without_showing_them(old: bytes, new: bytes) -> None:
    with pytest.raises(ValidationError) as caught:
        Tokens.model_validate_json(TOKENS.replace(old, new))

    assert "input_value" not in str(caught.value)


@pytest.mark.parametrize(
    ("start", "instant", "is_day"),
    [
        (DAY, datetime(2026, 11, 24, tzinfo=UTC), True),
        (
            '{"dateTime": "2026-11-24T10:00:00+02:00"}',
            datetime(2026, 11, 24, 8, tzinfo=UTC),
            False,
        ),
        (
            '{"dateTime": "2026-11-24T10:00:00", "timeZone": "Europe/Berlin"}',
            datetime(2026, 11, 24, 9, tzinfo=UTC),
            False,
        ),
        ('{"dateTime": "2026-11-24T10:00:00"}', datetime(2026, 11, 24, 10, tzinfo=UTC), False),
    ],
)
def test_an_event_starts_at_an_instant(start: str, instant: datetime, is_day: bool) -> None:
    parsed = CalendarEvent.model_validate_json(event(start=start))

    assert parsed.start is not None
    assert parsed.start.in_utc() == instant
    assert (parsed.start.day is not None) == is_day


@pytest.mark.parametrize(
    "parts",
    [
        {"start": '"tomorrow"'},
        {"start": "{}"},
        {"start": '{"date": "2026-13-01"}'},
        {"start": '{"date": "2026-11-24", "dateTime": "2026-11-24T10:00:00Z"}'},
        {"start": '{"dateTime": "2026-11-24T10:00:00", "timeZone": "Nowhere/City"}'},
        {"start": '{"dateTime": "2026-11-24T10:00:00", "timeZone": "../../etc/passwd"}'},
        {"start": '{"dateTime": "0001-01-01T00:00:00+14:00"}'},
        {"start": "null"},
        {"id": "12345"},
        {"id": '""'},
        {"id": '"a\\u0000b"'},
        {"status": '"unheard-of"'},
    ],
)
def test_an_event_of_another_shape_is_refused(parts: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        CalendarEvent.model_validate_json(event(**parts))


def test_a_title_is_made_storable() -> None:
    parsed = CalendarEvent.model_validate_json(event(summary='"a\\u0000b' + "x" * 5000 + '"'))

    assert parsed.summary is not None
    assert parsed.summary.startswith("abx")
    assert len(parsed.summary) == MAX_SUMMARY_CHARACTERS


def test_a_deleted_event_needs_no_times() -> None:
    parsed = CalendarEvent.model_validate_json(b'{"id": "e1", "status": "cancelled"}')

    assert parsed.is_deleted


@pytest.mark.parametrize(
    ("expires_in", "seconds"),
    [
        ('"3599"', 3599),
        ("3599.0", 3599),
        ("-1", 0),
        ("0", 0),
        ("1e99", MAX_LIFETIME_SECONDS),
        ("null", LIFETIME_SECONDS),
        ("true", LIFETIME_SECONDS),
        ("NaN", LIFETIME_SECONDS),
        ('"soon"', LIFETIME_SECONDS),
        ('""', LIFETIME_SECONDS),
    ],
)
def test_good_tokens_are_kept_however_their_life_is_written(expires_in: str, seconds: int) -> None:
    assert Tokens.read(TOKENS.replace(b"3599", expires_in.encode())).expires_in == seconds


def test_tokens_alone_are_enough() -> None:
    tokens = Tokens.read(b'{"access_token": "at"}')

    assert (tokens.expires_in, tokens.token_type) == (LIFETIME_SECONDS, "Bearer")


@pytest.mark.parametrize("nothing", ['""', '" "', "null"])
def test_an_empty_text_is_absence(nothing: str) -> None:
    more = f', "scope": {nothing}, "refresh_token": {nothing}}}'.encode()

    tokens = Tokens.read(TOKENS.replace(b"}", more))

    assert (tokens.scope, tokens.refresh_token) == (None, None)


def page(*events: bytes, more: bytes = b'"nextSyncToken": "s"') -> bytes:
    return b'{"items": [' + b", ".join(events) + b"], " + more + b"}"


GOOD = event(id='"good"')
SKIPPED = {
    "no_times": ("start,end", "no_times"),
    "no_end": ("start,end", "no_times"),
    "empty_start": ("start", "no_times"),
    "null_start": ("start", "no_times"),
    "text_start": ("start", "malformed"),
    "number_start": ("start.dateTime", "not_a_time"),
    "two_starts": ("start", "not_a_time"),
    "unknown_status": ("status", "malformed"),
    "no_such_day": ("start.date", "not_a_time"),
    "year_0": ("start.dateTime", "not_a_time"),
    "year_1": ("start", "out_of_range"),
    "year_9999": ("start", "out_of_range"),
    "year_20000": ("start.dateTime", "not_a_time"),
    "windows_zone": ("start", "unknown_time_zone"),
    "unknown_zone": ("start", "unknown_time_zone"),
    "half_pair_in_zone": ("start", "unknown_time_zone"),
    "number_summary": ("summary", "malformed"),
    "long_id": ("id", "malformed"),
    "number_id": ("id", "malformed"),
    "no_id": ("id", "malformed"),
}
"""Odd events of the simulator that cannot be stored → the field and the reason; all others can."""


@pytest.mark.parametrize("kind", ODD_EVENTS)
def test_an_odd_event_costs_itself_at_most(kind: str) -> None:
    odd = odd_event(kind)

    read = EventsPage.read(page(GOOD, wire.json_body(odd)))

    assert read.items[0].id == "good"
    assert read.next_sync_token == "s"
    if kind not in SKIPPED:
        assert [item.id for item in read.items[1:]] == [odd["id"]]
        assert read.skipped == ()
        return
    (skipped,) = read.skipped
    assert (skipped.field, skipped.reason) == SKIPPED[kind]
    assert skipped.reason in metrics.SKIP_REASONS
    assert skipped.id == (None if SKIPPED[kind][0] == "id" else odd["id"])


def test_an_offset_with_seconds_is_an_offset() -> None:
    odd = wire.json_body(odd_event("offset_with_seconds"))

    (read,) = EventsPage.read(page(odd)).items

    assert read.start is not None
    assert read.start.in_utc() == datetime(1880, 1, 1, 4, 56, 2, tzinfo=UTC)


@pytest.mark.parametrize(
    "text",
    [rb"half \ud83d", b"raw\nline", b"not \xff UTF-8", b"\x1b[31m", rb"\udc00\ud800"],
)
def test_text_that_is_not_clean_json_costs_no_other_event(text: bytes) -> None:
    odd = event(summary='"TEXT"').replace(b"TEXT", text)

    read = EventsPage.read(page(GOOD, odd))

    assert [item.id for item in read.items] == ["good", "e1"]
    assert read.items[1].summary is not None
    read.items[1].summary.encode()


@pytest.mark.parametrize("entry", [b"null", b"7", b"[]", b'"text"'])
def test_an_entry_that_is_no_object_is_skipped(entry: bytes) -> None:
    read = EventsPage.read(page(GOOD, entry))

    assert ([item.id for item in read.items], len(read.skipped)) == (["good"], 1)


def test_a_page_without_a_sync_token_is_a_page() -> None:
    read = EventsPage.read(page(GOOD, more=b'"nextSyncToken": ""'))

    assert (len(read.items), read.next_page_token, read.next_sync_token) == (1, None, None)


@pytest.mark.parametrize(
    "body",
    [
        b"{}",
        b"[]",
        b'{"error": {"code": 500}}',
        b'{"items": 1}',
        b'{"items": [], "nextPageToken": 7}',
        b'{"items": [' + b", ".join([b'{"id": 1}'] * 5) + b"]}",
        b'{"items": [' + b"[" * 5000 + b"]" * 5000 + b"]}",
    ],
)
def test_what_is_no_page_is_not_taken_for_an_empty_one(body: bytes) -> None:
    """It would empty the calendar."""
    with pytest.raises(ValueError):  # noqa: PT011 - any: the message is never shown
        EventsPage.read(body)
