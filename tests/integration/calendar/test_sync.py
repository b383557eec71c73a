import asyncio
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from firedrill_kit.resilience.breaker import State
from service.app import Service
from service.upstream import CalendarProvider
from tests.integration.calendar.conftest import Connect, Connected, Google, Owner
from tests.integration.conftest import Someone
from tests.signals import Samples, watched_spans

SYNC = "/api/v1/calendar/sync/auto"
EVENTS = "/api/v1/calendar/events"


async def sync(client: httpx.AsyncClient, who: Connected) -> httpx.Response:
    return await client.post(SYNC, headers=who.headers)


async def stored_ids(client: httpx.AsyncClient, who: Connected) -> list[str]:
    ids: list[str] = []
    query: dict[str, str] = {"limit": "100"}
    while True:
        page = (await client.get(EVENTS, params=query, headers=who.headers)).json()
        ids += [event["provider_event_id"] for event in page["events"]]
        if page["next_cursor"] is None:
            return ids
        query["cursor"] = page["next_cursor"]


async def test_the_first_sync_stores_everything_and_the_next_one_nothing(
    client: httpx.AsyncClient, connected: Connected
) -> None:
    samples = Samples()

    first = await sync(client, connected)
    second = await sync(client, connected)

    assert first.json() == {
        "created": 25,
        "updated": 0,
        "deleted": 0,
        "full_resync": False,
        "complete": True,
    }
    assert second.json() == {
        "created": 0,
        "updated": 0,
        "deleted": 0,
        "full_resync": False,
        "complete": True,
    }
    assert samples.grown("calendar_sync_events_total", change="created") == 25


async def test_a_later_sync_brings_what_was_created_changed_and_deleted(
    client: httpx.AsyncClient, connected: Connected, google: Google
) -> None:
    await sync(client, connected)
    before = await stored_ids(client, connected)
    await google.change_events(connected.grant, create=3, update=4, delete=5)

    answer = await sync(client, connected)

    assert answer.json() == {
        "created": 3,
        "updated": 4,
        "deleted": 5,
        "full_resync": False,
        "complete": True,
    }
    after = await stored_ids(client, connected)
    assert (len(set(before) - set(after)), len(set(after) - set(before))) == (5, 3)


async def test_a_calendar_of_several_pages_is_stored_whole(
    client: httpx.AsyncClient, connect: Connect, google: Google
) -> None:
    big = await connect(events=1100)
    await google.behave(page_events=250)

    answer = await sync(client, big)

    assert (answer.json()["created"], answer.json()["complete"]) == (1100, True)
    assert len(set(await stored_ids(client, big))) == 1100
    assert (await google.verdict(big.grant))["calendar_calls"] == 5


async def test_a_sync_token_that_is_too_old_leads_to_a_full_resync(
    client: httpx.AsyncClient, connected: Connected, google: Google
) -> None:
    await sync(client, connected)
    await google.change_events(connected.grant, create=2, delete=10, invalidate_sync_tokens=True)

    answer = await sync(client, connected)

    assert answer.json() == {
        "created": 2,
        "updated": 0,
        "deleted": 10,
        "full_resync": True,
        "complete": True,
    }
    assert len(await stored_ids(client, connected)) == 17


async def test_an_event_that_comes_twice_is_stored_once(
    client: httpx.AsyncClient, connected: Connected, google: Google
) -> None:
    await google.behave(calendar={"mode": "duplicate_ids"})

    answer = await sync(client, connected)

    assert answer.json()["created"] == 25


async def test_an_expired_token_is_refreshed_before_the_sync(
    client: httpx.AsyncClient, expired: Connected, google: Google
) -> None:
    samples = Samples()

    answer = await sync(client, expired)

    assert answer.status_code == 200, answer.text
    assert (await google.verdict(expired.grant))["outcomes"] == {"success": 1}
    assert samples.grown("oauth_refresh_total", outcome="success") == 1
    assert samples.grown("oauth_refresh_duration_seconds_count") == 1


async def test_a_token_that_google_no_longer_takes_is_refreshed_once(
    client: httpx.AsyncClient, connected: Connected, google: Google
) -> None:
    await google.expire(connected.grant)

    answer = await sync(client, connected)

    assert answer.status_code == 200, answer.text
    verdict = await google.verdict(connected.grant)
    assert verdict["token_calls"] == 1
    assert verdict["calendar_outcomes"] == {"refused_401": 1, "success": 1}


async def test_a_token_that_is_refused_again_ends_with_a_409_and_no_third_call(
    client: httpx.AsyncClient, connected: Connected, google: Google
) -> None:
    await google.behave(calendar={"mode": "unauthorized"})

    answer = await sync(client, connected)

    assert (answer.status_code, answer.json()["code"]) == (409, "calendar_reauth_required")
    assert "/o/oauth2/v2/auth?" in answer.json()["reauth_url"]
    verdict = await google.verdict(connected.grant)
    assert (verdict["token_calls"], verdict["calendar_calls"]) == (1, 2)


async def test_without_a_grant_there_is_nothing_to_sync(
    client: httpx.AsyncClient, someone: Someone
) -> None:
    answer = await client.post(SYNC, headers=someone.headers)

    assert (answer.status_code, answer.json()["code"]) == (409, "calendar_not_connected")


@dataclass(frozen=True)
class Fault:
    """A mode of the simulator's calendar; calls: how often it is asked; why: of a bad response."""

    mode: str
    status: int
    code: str
    calls: int
    why: str | None = None


FAULTS = [
    Fault("error_500", 502, "provider_error", calls=3),
    Fault("error_503", 502, "provider_error", calls=3),
    Fault("close", 502, "provider_error", calls=3),
    Fault("reset", 502, "provider_error", calls=3),
    Fault("html", 502, "provider_bad_response", calls=1, why="not_json"),
    Fault("truncated_json", 502, "provider_bad_response", calls=1, why="truncated"),
    Fault("cut_body", 502, "provider_bad_response", calls=3, why="truncated"),
    Fault("wrong_types", 502, "provider_bad_response", calls=1, why="shape"),
    # Once with each size of page.
    Fault("huge", 502, "provider_bad_response", calls=3, why="too_large"),
    Fault("not_a_calendar_user", 409, "calendar_forbidden", calls=1),
    Fault("domain_policy", 409, "calendar_forbidden", calls=1),
    Fault("insufficient_permissions", 409, "calendar_scope_missing", calls=1),
    Fault("user_rate_limit_exceeded", 429, "provider_rate_limited", calls=3),
    Fault("quota_exceeded", 429, "provider_rate_limited", calls=1),
    # Its Retry-After is 5 s: longer than a request may sleep.
    Fault("error_429", 429, "provider_rate_limited", calls=1),
    Fault("rate_limit_exceeded_per_user", 429, "provider_rate_limited", calls=3),
    Fault("rate_limit_exceeded_unnamed", 429, "provider_rate_limited", calls=3),
    Fault("rate_limit_exceeded_429", 503, "provider_quota_exhausted", calls=1),
    Fault("rate_limit_exceeded", 503, "provider_quota_exhausted", calls=3),
    Fault("daily_limit_exceeded", 503, "provider_quota_exhausted", calls=1),
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.mode)
async def test_a_calendar_in_trouble_is_answered_by_what_is_wrong_with_it(
    client: httpx.AsyncClient, connected: Connected, google: Google, fault: Fault
) -> None:
    await sync(client, connected)
    stored = await stored_ids(client, connected)
    await google.change_events(connected.grant, create=5)
    await google.reset()
    await google.behave(calendar={"mode": fault.mode})
    samples = Samples()

    answer = await sync(client, connected)

    assert (answer.status_code, answer.json()["code"]) == (fault.status, fault.code)
    assert ("retry-after" in answer.headers) == (fault.status in {429, 503})
    assert ("reauth_url" in answer.json()) == (fault.status == 409)
    assert (await google.verdict(connected.grant))["calendar_calls"] == fault.calls
    assert samples.grown("http_client_request_duration_seconds_count") == fault.calls
    assert bool(samples.grown("upstream_bad_responses_total")) == bool(fault.why)
    if fault.why:
        assert samples.grown("upstream_bad_responses_total", why=fault.why) >= 1
    limit_scope = {429: "user", 503: "project"}.get(fault.status)
    assert bool(samples.grown("upstream_rate_limited_total")) == bool(limit_scope)
    if limit_scope:
        assert samples.grown("upstream_rate_limited_total", scope=limit_scope) == fault.calls
    assert await stored_ids(client, connected) == stored, "nothing of it was stored"


async def test_a_calendar_that_recovers_within_three_attempts_is_not_noticed(
    client: httpx.AsyncClient, connected: Connected, google: Google
) -> None:
    await google.behave(calendar={"mode": "error_503", "times": 2})
    samples = Samples()

    answer = await sync(client, connected)

    assert answer.status_code == 200
    retries = {"operation": "calendar_fetch"}
    assert samples.grown("retry_attempts_total", outcome="retried", **retries) == 2
    assert samples.grown("retry_attempts_total", outcome="succeeded", **retries) == 1


async def test_a_calendar_that_hangs_is_a_504_within_the_deadline(
    client: httpx.AsyncClient,
    connected: Connected,
    google: Google,
    upstream: CalendarProvider,
    service: Service,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await google.behave(calendar={"mode": "hang", "seconds": 30})
    hurried = service.config.model_copy(update={"calendar_deadline_seconds": 0.7})
    monkeypatch.setattr(service, "config", hurried)

    answer = await sync(client, connected)

    assert answer.status_code == 504
    assert answer.json()["code"] in {"provider_timeout", "deadline_exceeded"}
    assert upstream.breaker.state is State.CLOSED, "a caller in a hurry says nothing about Google"


async def test_a_broken_provider_is_left_alone_until_its_breaker_lets_one_call_through(
    client: httpx.AsyncClient, connected: Connected, google: Google, upstream: CalendarProvider
) -> None:
    await google.behave(calendar={"mode": "error_500"})
    samples = Samples()
    for _ in range(2):  # three attempts each; five open it
        await sync(client, connected)
    before = (await google.verdict())["calendar_calls"]

    refused = await sync(client, connected)

    assert (refused.status_code, refused.json()["code"]) == (503, "provider_circuit_open")
    assert int(refused.headers["retry-after"]) >= 1
    assert (await google.verdict())["calendar_calls"] == before
    assert samples.grown("circuit_breaker_transitions_total", to="open") == 1
    assert samples.grown("circuit_breaker_state", state="open") == 1
    await google.reset()
    async with asyncio.timeout(30):
        while (await sync(client, connected)).status_code != 200:
            await asyncio.sleep(0.05)
    assert upstream.breaker.state is State.CLOSED


async def test_of_two_syncs_at_once_one_stores_and_the_other_changes_nothing(
    client: httpx.AsyncClient, connected: Connected
) -> None:
    answers = await asyncio.gather(*(sync(client, connected) for _ in range(5)))

    assert [answer.status_code for answer in answers] == [200] * 5
    assert sorted(answer.json()["created"] for answer in answers) == [0, 0, 0, 0, 25]


async def test_a_sync_that_was_overtaken_does_not_move_the_calendar_back(
    client: httpx.AsyncClient, connected: Connected, google: Google, owner: Owner
) -> None:
    await sync(client, connected)
    await google.change_events(connected.grant, delete=20)
    await google.reset()
    await google.behave(calendar_latency_ms=300)
    late = asyncio.create_task(sync(client, connected))
    async with asyncio.timeout(30):
        while (await google.verdict(connected.grant))["calendar_calls"] == 0:
            await asyncio.sleep(0.01)
        await owner.execute(
            "UPDATE oauth_grants SET sync_token = 'of a faster sync' WHERE account_id = $1",
            connected.account_id,
        )
        answer = await late

    assert answer.json() == {
        "created": 0,
        "updated": 0,
        "deleted": 0,
        "full_resync": False,
        "complete": True,
    }
    assert len(await stored_ids(client, connected)) == 25


async def test_events_come_in_pages_in_the_order_of_their_start(
    client: httpx.AsyncClient, connected: Connected
) -> None:
    await sync(client, connected)

    starts: list[str] = []
    page: dict[str, Any] = {}
    query = {"limit": "7"}
    for _ in range(4):
        page = (await client.get(EVENTS, params=query, headers=connected.headers)).json()
        starts += [event["starts_at"] for event in page["events"]]
        query["cursor"] = page["next_cursor"] or ""

    assert len(starts) == 25
    assert starts == sorted(starts)
    assert page["next_cursor"] is None


@pytest.mark.parametrize("cursor", ["x", "bm90IGpzb24", "W10", "WyIyMDI2LTAxLTAxIiwgMV0", "%00"])
async def test_a_cursor_that_is_not_ours_is_a_422(
    client: httpx.AsyncClient, someone: Someone, cursor: str
) -> None:
    answer = await client.get(EVENTS, params={"cursor": cursor}, headers=someone.headers)

    assert (answer.status_code, answer.json()["code"]) == (422, "validation_failed")
    assert answer.json()["errors"][0]["loc"] == "query.cursor"


async def test_others_events_are_not_shown(
    client: httpx.AsyncClient, connected: Connected, someone: Someone
) -> None:
    await sync(client, connected)

    page = (await client.get(EVENTS, headers=someone.headers)).json()

    assert page == {"events": [], "next_cursor": None}


async def test_a_sync_is_seen_end_to_end_in_one_trace(
    client: httpx.AsyncClient, expired: Connected, service: Service
) -> None:
    with watched_spans(service.tracing) as spans:
        answer = await sync(client, expired)

    assert answer.status_code == 200
    page_name = "GET /calendar/v3/calendars/primary/events"
    ours = ("oauth", "calendar", "GET /calendar", "POST /token")
    by_name = {span.name: span for span in spans.ended if span.name.startswith(ours)}
    assert set(by_name) == {
        "calendar.sync",
        "oauth.lease.wait",
        "oauth.refresh",
        page_name,
        "POST /token",
    }
    page = by_name[page_name]
    assert page.kind.name == "CLIENT"
    assert page.attributes is not None
    assert page.attributes["http.request.method"] == "GET"
    assert page.attributes["http.response.status_code"] == 200
    assert page.attributes["server.address"] == "127.0.0.1"
    waiting = by_name["oauth.lease.wait"]
    root = by_name["oauth.refresh"]
    attempt = by_name["POST /token"]
    assert root.parent is None
    assert attempt.parent is not None
    assert attempt.kind.name == "CLIENT"
    assert page.context is not None
    assert waiting.context is not None
    assert root.context is not None
    assert root.context.trace_id != waiting.context.trace_id == page.context.trace_id
    assert [link.context.trace_id for link in waiting.links] == [root.context.trace_id]
    assert [link.context.trace_id for link in root.links] == [waiting.context.trace_id]
