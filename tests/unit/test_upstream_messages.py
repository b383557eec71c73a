from datetime import UTC, datetime

import pytest
from pydantic import ValidationError

from service.upstream.messages import MAX_SUMMARY_CHARACTERS, CalendarEvent, EventsPage, Tokens

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
        (b"3599", b'"3599"'),
        (b"3599", b"-1"),
        (b"3599", b"1e99"),
        (b"3599", b"true"),
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
        {"status": "null"},
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
    "page",
    [b'{"items": []}', b'{"items": [], "nextPageToken": "p", "nextSyncToken": "s"}'],
)
def test_a_page_either_goes_on_or_ends(page: bytes) -> None:
    with pytest.raises(ValidationError):
        EventsPage.model_validate_json(page)
