from typing import Any

import pytest

from stack.provider import wire
from stack.provider.events import Calendars
from stack.provider.grants import Grants, Terms
from stack.provider.listing import list_events
from stack.provider.oddities import ODD_EVENTS, altered, odd_event, selected, with_odd_events

PAGE: dict[str, Any] = {
    "kind": "calendar#events",
    "items": [{"id": "e1", "start": {"date": "2026-11-24", "timeZone": "UTC"}, "etag": "1"}],
    "nextPageToken": "p",
}


@pytest.mark.parametrize("kind", ODD_EVENTS)
def test_an_odd_event_is_what_its_name_says_and_goes_over_the_wire(kind: str) -> None:
    event = odd_event(kind)

    for name, value in ODD_EVENTS[kind].items():
        assert (event[name] == value) if value is not None else name not in event
    assert wire.json_body({"items": [event]}).startswith(b"{")


def test_odd_events_come_after_the_good_ones() -> None:
    page = with_odd_events(PAGE, ["year_0"])

    assert [event["id"] for event in page["items"]] == ["e1", "oddyear0"]
    assert len(with_odd_events(PAGE, [])["items"]) == 1 + len(ODD_EVENTS)


def test_an_altered_answer_has_and_lacks_what_was_asked_for() -> None:
    assert altered({"a": 1, "b": 2}, fields={"a": "1", "c": ""}, without=["b"]) == {
        "a": "1",
        "c": "",
    }


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ("nextPageToken", {"nextPageToken": "p"}),
        ("items(id,etag),nextPageToken", {"items": [{"id": "e1", "etag": "1"}], "nextPageToken": "p"}),
        ("items/id", {"items": [{"id": "e1"}]}),
        ("items/start/date", {"items": [{"start": {"date": "2026-11-24"}}]}),
        ("items(id,start/date)", {"items": [{"id": "e1", "start": {"date": "2026-11-24"}}]}),
        ("unheardOf", {}),
        ("*", PAGE),
    ],
)  # fmt: skip
def test_a_selection_picks_fields_as_google_does(fields: str, expected: dict[str, Any]) -> None:
    assert selected(PAGE, fields) == expected


@pytest.mark.parametrize("fields", ["", "items(", "items(id", "items(id))", ",", "a,,b"])
def test_a_selection_that_is_none_is_refused(fields: str) -> None:
    with pytest.raises(ValueError, match="Invalid field selection"):
        selected(PAGE, fields)


def test_pages_can_be_smaller_than_asked_for() -> None:
    calendar = Calendars(seed="1", now=lambda: 1_800_000_000.0).open("ann", initial_events=7)

    page = list_events(calendar, {"maxResults": "2500"}, page_events=3)

    assert len(page["items"]) == 3
    assert page["nextPageToken"]


def test_a_grant_can_have_a_life_of_its_own() -> None:
    grants = Grants(seed="1", now=lambda: 1_800_000_000.0)
    _, code = grants.consent(user="ann", scopes=[], expires_in=90)

    tokens = grants.exchange(code, redirect_uri="", terms=Terms(expires_in=3600))

    assert tokens.expires_in == 90
    assert tokens.grant.access_expires_at["1"] == 1_800_000_090.0
