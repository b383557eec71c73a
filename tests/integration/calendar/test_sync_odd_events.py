"""One event that cannot be read costs itself at most: never the calendar, never the others' syncs."""

import httpx
import pytest

from firedrill_kit.resilience.breaker import State
from service.upstream import CalendarProvider
from stack.provider.oddities import ODD_EVENTS
from tests.integration.calendar.conftest import Connect, Connected, Google, Owner
from tests.integration.calendar.test_sync import EVENTS, stored_ids, sync
from tests.signals import Samples

SKIPPED = "calendar_sync_events_skipped_total"


async def test_a_page_with_one_odd_event_of_each_kind_is_stored_but_for_them(
    client: httpx.AsyncClient,
    connected: Connected,
    google: Google,
    upstream: CalendarProvider,
    capsys: pytest.CaptureFixture[str],
) -> None:
    await google.behave(calendar={"mode": "odd_events"})
    samples = Samples()

    answer = await sync(client, connected)

    assert answer.status_code == 200, answer.text
    ids = await stored_ids(client, connected)
    readable = {item for item in ids if item.startswith("odd")}
    assert len(ids) - len(readable) == 25
    assert samples.grown(SKIPPED) >= 19
    assert samples.grown(SKIPPED) + len(readable) == len(ODD_EVENTS) - 1, "one was a deletion"
    for reason in ("no_times", "not_a_time", "out_of_range", "unknown_time_zone", "malformed"):
        assert samples.grown(SKIPPED, reason=reason) >= 1, reason
    assert upstream.breaker.state is State.CLOSED
    lines = [line for line in capsys.readouterr().out.splitlines() if "sync_event_skipped" in line]
    assert any("oddyear0" in line and "start.dateTime" in line for line in lines)
    again = await sync(client, connected)
    assert (again.status_code, again.json()["created"]) == (200, 0)


@pytest.mark.parametrize("kind", ODD_EVENTS)
async def test_an_odd_event_alone_on_a_calendar_is_a_200(
    client: httpx.AsyncClient, connect: Connect, google: Google, kind: str
) -> None:
    who = await connect(events=1)
    await google.behave(grant=who.grant, calendar={"mode": "odd_events", "kinds": [kind]})

    answers = [await sync(client, who) for _ in range(2)]

    assert [answer.status_code for answer in answers] == [200, 200]
    page = await client.get(EVENTS, headers=who.headers)
    assert page.status_code == 200, page.text


async def test_half_a_surrogate_pair_is_repaired(
    client: httpx.AsyncClient, connected: Connected, google: Google
) -> None:
    await google.behave(calendar={"mode": "odd_events", "kinds": ["half_pair"]})

    await sync(client, connected)

    page = (await client.get(EVENTS, params={"limit": "100"}, headers=connected.headers)).json()
    (repaired,) = [e for e in page["events"] if e["provider_event_id"] == "oddhalfpair"]
    assert repaired["summary"] == "half a face �"


async def test_a_skipped_event_keeps_what_was_stored_while_it_could_be_read(
    client: httpx.AsyncClient, connected: Connected, google: Google, owner: Owner
) -> None:
    await owner.execute(
        "INSERT INTO calendar_events (account_id, provider_event_id, etag, status, starts_at,"
        " ends_at, seen_at) SELECT $1, unnest($2::text[]), '', 'confirmed', now(), now(),"
        " now() - interval '1 day'",
        connected.account_id,
        ["oddyear1", "gone"],
    )
    await google.behave(calendar={"mode": "odd_events", "kinds": ["year_1"]})

    answer = await sync(client, connected)

    assert (answer.json()["created"], answer.json()["deleted"]) == (25, 1)
    assert "oddyear1" in await stored_ids(client, connected)
