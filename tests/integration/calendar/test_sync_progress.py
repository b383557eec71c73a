"""A sync that is cut short goes on where it stopped, and ends with the calendar."""

import httpx
import pytest

from service.config import Config
from service.domains.calendar import sync as syncs
from tests.integration.calendar.conftest import Connect, Connected, Google, Owner
from tests.integration.calendar.test_sync import stored_ids, sync


async def hurried(client: httpx.AsyncClient, who: Connected) -> httpx.Response:
    """A sync that has a second for pages, of the route's 15."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(syncs, "SPARE_SECONDS", Config().calendar_deadline_seconds - 1)
        return await sync(client, who)


@pytest.fixture
async def slow(connect: Connect, google: Google) -> Connected:
    """Ten pages of ten events, 0.3 s each: more than a hurried sync has time for."""
    who = await connect(events=100)
    await google.behave(grant=who.grant, page_events=10, calendar_latency_ms=300)
    return who


async def test_a_calendar_that_takes_several_syncs_is_asked_for_each_page_once(
    client: httpx.AsyncClient, slow: Connected, google: Google
) -> None:
    answers = [await hurried(client, slow)]
    while not answers[-1].json()["complete"]:
        stored = len(await stored_ids(client, slow))
        assert stored == sum(answer.json()["created"] for answer in answers) > 0
        answers.append(await hurried(client, slow))

    assert {answer.status_code for answer in answers} == {200}
    assert len(answers) > 1
    assert len(set(await stored_ids(client, slow))) == 100
    assert (await google.verdict(slow.grant))["calendar_calls"] == 10
    assert (await sync(client, slow)).json()["created"] == 0


async def test_a_failure_in_the_middle_costs_no_page_that_was_stored(
    client: httpx.AsyncClient, slow: Connected, google: Google
) -> None:
    first = await hurried(client, slow)
    await google.behave(grant=slow.grant, calendar={"mode": "quota_exceeded"})
    failed = await sync(client, slow)
    await google.behave(grant=slow.grant, calendar={"mode": "normal"}, calendar_latency_ms=0)

    last = await sync(client, slow)

    assert (first.json()["complete"], failed.status_code) == (False, 429)
    assert last.json()["complete"]
    assert first.json()["created"] + last.json()["created"] == 100
    assert (await google.verdict(slow.grant))["calendar_calls"] == 11


async def test_what_changes_meanwhile_comes_with_the_next_sync(
    client: httpx.AsyncClient, slow: Connected, google: Google
) -> None:
    await hurried(client, slow)
    await google.change_events(slow.grant, create=2, update=3, delete=4)
    await google.behave(grant=slow.grant, calendar_latency_ms=0)

    await sync(client, slow)
    await sync(client, slow)

    assert len(await stored_ids(client, slow)) == 98


async def test_nothing_is_gone_before_the_last_page(
    client: httpx.AsyncClient, slow: Connected, google: Google, owner: Owner
) -> None:
    await google.behave(grant=slow.grant, calendar_latency_ms=0)
    await sync(client, slow)
    await google.change_events(slow.grant, delete=30, invalidate_sync_tokens=True)
    await google.behave(grant=slow.grant, calendar_latency_ms=300)

    first = await hurried(client, slow)
    between = len(await stored_ids(client, slow))
    await google.behave(grant=slow.grant, calendar_latency_ms=0)
    last = await sync(client, slow)

    assert (first.json()["full_resync"], first.json()["complete"]) == (True, False)
    assert (between, first.json()["deleted"]) == (100, 0)
    assert (last.json()["deleted"], last.json()["complete"]) == (30, True)
    assert len(await stored_ids(client, slow)) == 70


async def test_a_page_token_that_is_refused_starts_over(
    client: httpx.AsyncClient, slow: Connected, google: Google, owner: Owner
) -> None:
    await hurried(client, slow)
    await owner.execute(
        "UPDATE oauth_grants SET page_token = 'too old' WHERE account_id = $1", slow.account_id
    )
    await google.behave(grant=slow.grant, calendar_latency_ms=0)

    answer = await sync(client, slow)

    assert (answer.status_code, answer.json()["complete"]) == (200, True)
    assert len(await stored_ids(client, slow)) == 100


async def test_without_a_sync_token_the_events_are_stored_and_the_next_sync_is_full(
    client: httpx.AsyncClient, connected: Connected, google: Google
) -> None:
    await google.behave(calendar={"mode": "no_sync_token"})

    first = await sync(client, connected)
    await google.change_events(connected.grant, create=1, delete=3)
    second = await sync(client, connected)

    changes = ("created", "updated", "deleted", "complete")
    assert [first.json()[change] for change in changes] == [25, 0, 0, True]
    assert [second.json()[change] for change in changes] == [1, 0, 3, True]
    assert len(await stored_ids(client, connected)) == 23


async def test_pages_without_end_are_given_up_and_all_is_listed_anew(
    client: httpx.AsyncClient, connected: Connected, google: Google, owner: Owner
) -> None:
    await google.behave(grant=connected.grant, calendar={"mode": "endless_pages"})
    await hurried(client, connected)
    await owner.execute(
        "UPDATE oauth_grants SET listed_pages = $2 WHERE account_id = $1",
        connected.account_id,
        syncs.MAX_PAGES - 2,
    )

    given_up = await sync(client, connected)
    await google.behave(grant=connected.grant, calendar={"mode": "normal"})
    mended = await sync(client, connected)

    assert (given_up.status_code, given_up.json()["code"]) == (502, "provider_bad_response")
    assert (mended.status_code, mended.json()["complete"]) == (200, True)
    assert len(await stored_ids(client, connected)) == 25


async def test_a_window_that_is_a_month_old_is_renewed(
    client: httpx.AsyncClient, connected: Connected, owner: Owner
) -> None:
    await sync(client, connected)
    await owner.execute(
        "UPDATE oauth_grants SET listed_at = now() - interval '31 days' WHERE account_id = $1",
        connected.account_id,
    )

    answers = [(await sync(client, connected)).json() for _ in range(2)]

    assert [answer["full_resync"] for answer in answers] == [True, False]
    assert [answer["created"] for answer in answers] == [0, 0]


async def test_a_page_that_is_too_large_is_asked_for_in_smaller_ones(
    client: httpx.AsyncClient, connect: Connect, google: Google
) -> None:
    who = await connect(events=300)
    await google.behave(grant=who.grant, calendar={"mode": "huge", "megabytes": 9, "times": 1})

    answer = await sync(client, who)

    assert (answer.status_code, answer.json()["created"]) == (200, 300)
    assert (await google.verdict(who.grant))["calendar_calls"] == 3
