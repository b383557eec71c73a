"""events.list of the simulated calendar: a client that follows the tokens ends with the calendar."""

from collections.abc import Mapping
from datetime import datetime

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stack.provider.events import Body, Calendar, Calendars, ChangeKind
from stack.provider.listing import ListingRefused, list_events

NOW = 1_800_000_000.0


def calendars() -> Calendars:
    return Calendars(seed="1", now=lambda: NOW)


def refusal(calendar: Calendar, query: Mapping[str, str]) -> tuple[int, str]:
    """Status and reason of the refusal of a query that must be refused."""
    with pytest.raises(ListingRefused) as refused:
        list_events(calendar, query)
    error = orjson.loads(refused.value.answer.body)["error"]
    assert error["code"] == refused.value.answer.status
    return error["code"], error["errors"][0]["reason"]


class Client:
    """Does with the pages what Google's guide says: upsert, delete what is cancelled."""

    def __init__(self, calendar: Calendar, page_size: int) -> None:
        self._calendar = calendar
        self._page_size = {"maxResults": str(page_size)}
        self._query: dict[str, str] = {}
        self.events: dict[str, Body] = {}

    def fetch_page(self) -> bool:
        """True when it was the last page of a sync."""
        page = list_events(self._calendar, {**self._page_size, **self._query})
        for item in page["items"]:
            self.events.pop(item["id"], None)
            if item["status"] != "cancelled":
                self.events[item["id"]] = item
        assert ("nextPageToken" in page) != ("nextSyncToken" in page)
        if "nextPageToken" in page:
            self._query = {"pageToken": page["nextPageToken"]}
            return False
        self._query = {"syncToken": page["nextSyncToken"]}
        return True

    def sync(self) -> None:
        while not self.fetch_page():
            pass


@settings(max_examples=60)
@given(
    initial=st.integers(0, 12),
    page_size=st.integers(1, 5),
    steps=st.lists(st.sampled_from(["create", "update", "delete", "fetch"]), max_size=30),
)
def test_a_client_that_follows_the_tokens_ends_with_the_calendar(
    initial: int, page_size: int, steps: list[str]
) -> None:
    """Changes fall between any two pages; after one more sync nothing is missing or left over."""
    store = calendars()
    calendar = store.open("ann", initial_events=initial)
    client = Client(calendar, page_size)

    kinds: dict[str, ChangeKind] = {"create": "create", "update": "update", "delete": "delete"}
    for step in steps:
        target = calendar.stalest(1)
        if step == "fetch":
            client.fetch_page()
        elif step == "create":
            store.change(calendar, "create")
        elif target:
            store.change(calendar, kinds[step], target[0])
    client.sync()
    client.sync()

    alive = {i: event.body for i, event in calendar.events.items() if not event.is_deleted}
    assert client.events == alive


def test_an_incremental_sync_shows_just_what_was_created_updated_and_deleted() -> None:
    store = calendars()
    calendar = store.open("ann", initial_events=10)
    token = list_events(calendar, {})["nextSyncToken"]
    deleted, updated = calendar.stalest(2)
    store.change(calendar, "delete", deleted)
    store.change(calendar, "update", updated)
    created = store.change(calendar, "create")

    page = list_events(calendar, {"syncToken": token})

    assert [item["id"] for item in page["items"]] == [deleted, updated, created]
    assert page["items"][0].keys() == {"kind", "etag", "id", "status"}
    assert page["items"][1]["sequence"] == 1
    assert list_events(calendar, {"syncToken": page["nextSyncToken"]})["items"] == []


def test_a_full_listing_shows_deleted_events_only_when_asked() -> None:
    store = calendars()
    calendar = store.open("ann", initial_events=3)
    store.change(calendar, "delete", calendar.stalest(1)[0])

    assert len(list_events(calendar, {})["items"]) == 2
    assert len(list_events(calendar, {"showDeleted": "true"})["items"]) == 3


def test_an_invalidated_sync_token_is_a_410_and_a_new_one_is_good() -> None:
    store = calendars()
    calendar = store.open("ann", initial_events=3)
    token = list_events(calendar, {})["nextSyncToken"]
    store.change(calendar, "invalidate")

    assert refusal(calendar, {"syncToken": token}) == (410, "fullSyncRequired")
    assert list_events(calendar, {"syncToken": list_events(calendar, {})["nextSyncToken"]})


def test_a_sync_token_from_the_future_of_the_calendar_is_a_410() -> None:
    """The simulator was started again without its state, the client was not."""
    longer = calendars().open("ann", initial_events=5)
    shorter = calendars().open("ann", initial_events=3)

    token = list_events(longer, {})["nextSyncToken"]

    assert refusal(shorter, {"syncToken": token}) == (410, "fullSyncRequired")


def test_time_bounds_are_half_open_and_survive_in_the_sync_token() -> None:
    store = calendars()
    calendar = store.open("ann", initial_events=40)
    now = "2027-01-15T08:00:00Z"
    assert datetime.fromisoformat(now).timestamp() == NOW

    upcoming = list_events(calendar, {"timeMin": now})
    past = list_events(calendar, {"timeMax": now})

    ids = [{item["id"] for item in page["items"]} for page in (upcoming, past)]
    ongoing = {i for i, event in calendar.events.items() if event.starts < NOW < event.ends}
    assert ids[0] | ids[1] == set(calendar.events)
    assert ids[0] & ids[1] == ongoing
    old = next(i for i, event in calendar.events.items() if event.ends < NOW - 7200)
    store.change(calendar, "update", old)
    assert list_events(calendar, {"syncToken": upcoming["nextSyncToken"]})["items"] == []


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ({"maxResults": "0"}, "invalidParameter"),
        ({"maxResults": "9" * 5000}, "invalidParameter"),
        ({"maxResults": "²"}, "invalidParameter"),
        ({"showDeleted": "yes"}, "invalidParameter"),
        ({"timeMin": "2027-01-15"}, "badRequest"),
        ({"timeMin": "2027-01-15T08:00:00"}, "badRequest"),
        ({"timeMin": "2027-01-15T08:00:00Z", "timeMax": "2027-01-15T08:00:00Z"}, "timeRangeEmpty"),
        ({"syncToken": "CPDAlvWDx70CEPDAlvWDx70CGAU="}, "invalid"),
        ({"syncToken": "é"}, "invalid"),
        ({"pageToken": ""}, "invalid"),
        ({"orderBy": "startTime"}, "invalidParameter"),
    ],
)
def test_a_bad_parameter_is_a_400_with_its_reason(query: dict[str, str], reason: str) -> None:
    assert refusal(calendars().open("ann", initial_events=1), query) == (400, reason)


@pytest.mark.parametrize(
    "extra", [{"timeMin": "2027-01-15T08:00:00Z"}, {"showDeleted": "false"}], ids=str
)
def test_a_sync_token_goes_with_neither_bounds_nor_hidden_deletions(extra: dict[str, str]) -> None:
    calendar = calendars().open("ann", initial_events=1)
    token = list_events(calendar, {})["nextSyncToken"]

    assert refusal(calendar, {"syncToken": token, **extra}) == (400, "badRequest")


def test_tokens_of_another_calendar_or_of_the_other_kind_are_refused() -> None:
    store = calendars()
    ann, bob = store.open("ann", initial_events=2), store.open("bob", initial_events=2)
    sync_token = list_events(ann, {})["nextSyncToken"]
    page_token = list_events(ann, {"maxResults": "1"})["nextPageToken"]

    assert refusal(bob, {"syncToken": sync_token}) == (400, "invalid")
    assert refusal(ann, {"syncToken": page_token}) == (400, "invalid")
    assert refusal(ann, {"pageToken": sync_token}) == (400, "invalid")


def test_events_look_like_googles_and_follow_from_the_seed() -> None:
    items = list_events(calendars().open("ann", initial_events=200), {})["items"]

    assert items == list_events(calendars().open("ann", initial_events=200), {})["items"]
    assert len({item["id"] for item in items}) == 200
    assert {item["status"] for item in items} == {"confirmed", "tentative"}
    assert {frozenset(item["start"]) for item in items} == {
        frozenset({"date"}),
        frozenset({"dateTime", "timeZone"}),
    }
    for item in items:
        begin, end = (
            item[side].get("dateTime") or item[side]["date"] for side in ("start", "end")
        )
        assert datetime.fromisoformat(begin) < datetime.fromisoformat(end)
