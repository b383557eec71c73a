"""What Google says of one user's calendar must not keep the others from theirs."""

import httpx
import pytest

from firedrill_kit.resilience.breaker import State
from service.upstream import CalendarProvider
from tests.integration.calendar.conftest import (
    Connect,
    Connected,
    Google,
    connect,
    google,
    new_account,
    upstream,
)
from tests.signals import Samples

__all__ = ["connect", "google", "new_account", "upstream"]  # the fixtures

SYNC = "/api/v1/calendar/sync/auto"
HONEST_CALLERS = 20
MISBEHAVED_SYNCS = 6
"""Five failed attempts open the breaker."""


@pytest.fixture
async def odd(connect: Connect) -> Connected:
    return await connect()


@pytest.fixture
async def honest(connect: Connect) -> list[Connected]:
    return [await connect(events=3) for _ in range(HONEST_CALLERS)]


async def answers_beside(
    client: httpx.AsyncClient, odd: Connected, honest: list[Connected]
) -> tuple[list[httpx.Response], list[httpx.Response]]:
    """Return the answers to the odd account's syncs, and to the honest ones' between and after them."""

    async def sync(who: Connected) -> httpx.Response:
        return await client.post(SYNC, headers=who.headers)

    its, others = [], [await sync(honest[0])]
    for caller in honest[1 : 1 + MISBEHAVED_SYNCS]:
        its.append(await sync(odd))
        others.append(await sync(caller))
    rest = honest[1 + MISBEHAVED_SYNCS :]
    others += [await sync(caller) for caller in rest]
    return its, others


LIMITS = [
    {"mode": "rate_limit_exceeded_per_user", "retry_after_seconds": 30},
    {"mode": "rate_limit_exceeded_unnamed", "retry_after_seconds": 30},
    {"mode": "user_rate_limit_exceeded"},
    {"mode": "quota_exceeded", "retry_after_seconds": 30},
    {"mode": "error_429", "retry_after_seconds": 30},
]


@pytest.mark.parametrize("limit", LIMITS, ids=lambda limit: str(limit["mode"]))
async def test_one_users_limit_is_that_users_alone(
    client: httpx.AsyncClient,
    google: Google,
    upstream: CalendarProvider,
    odd: Connected,
    honest: list[Connected],
    limit: dict[str, object],
) -> None:
    await google.behave(grant=odd.grant, calendar=limit)
    samples = Samples()

    its, others = await answers_beside(client, odd, honest)

    assert {answer.json()["code"] for answer in its} == {"provider_rate_limited"}
    assert {answer.status_code for answer in its} == {429}
    assert {answer.status_code for answer in others} == {200}, [a.text for a in others]
    assert upstream.breaker.state is State.CLOSED
    assert samples.grown("upstream_rate_limited_total", scope="user") >= MISBEHAVED_SYNCS
    assert samples.grown("upstream_rate_limited_total", scope="project") == 0, (
        "the ticket's series"
    )
    assert samples.grown("circuit_breaker_transitions_total") == 0
    assert samples.grown("app_failures_total", code="provider_quota_exhausted") == 0


ODD_DATA = [
    {"mode": "odd_events"},
    {"mode": "no_sync_token"},
    {"mode": "wrong_types"},
    {"mode": "truncated_json"},
    {"mode": "html"},
    {"mode": "error_500"},
    {"mode": "close"},
    {"mode": "not_a_calendar_user"},
    {"mode": "domain_policy"},
]


@pytest.mark.parametrize("fault", ODD_DATA, ids=lambda fault: str(fault["mode"]))
async def test_one_users_calendar_says_nothing_about_the_provider(
    client: httpx.AsyncClient,
    google: Google,
    upstream: CalendarProvider,
    odd: Connected,
    honest: list[Connected],
    fault: dict[str, object],
) -> None:
    await google.behave(grant=odd.grant, calendar=fault)
    samples = Samples()

    its, others = await answers_beside(client, odd, honest)

    assert len({answer.status_code for answer in its}) == 1
    assert {answer.status_code for answer in others} == {200}, [a.text for a in others]
    assert [answer.json()["created"] for answer in others] == [3] * HONEST_CALLERS
    assert upstream.breaker.state is State.CLOSED
    assert samples.grown("circuit_breaker_transitions_total") == 0
    assert samples.grown("app_failures_total", code="provider_circuit_open") == 0


@pytest.mark.parametrize("mode", ["admin_policy_enforced", "access_denied", "invalid_grant"])
async def test_a_grant_that_one_user_lost_is_no_failure_of_the_provider(
    client: httpx.AsyncClient,
    google: Google,
    upstream: CalendarProvider,
    connect: Connect,
    honest: list[Connected],
    mode: str,
) -> None:
    expired = await connect(expires_in_seconds=-1)
    await google.behave(grant=expired.grant, token={"mode": mode})
    samples = Samples()

    its, others = await answers_beside(client, expired, honest)

    assert {answer.json()["code"] for answer in its} == {"calendar_reauth_required"}
    assert {answer.status_code for answer in others} == {200}, [a.text for a in others]
    assert upstream.breaker.state is State.CLOSED
    outcomes = "provider_error", "timeout", "network"
    assert not any(samples.grown("oauth_refresh_total", outcome=outcome) for outcome in outcomes)
    assert (
        samples.grown(
            "http_server_request_duration_seconds_count", http_response_status_code="503"
        )
        == 0
    )


async def test_a_limit_of_the_project_stops_everybody_at_once(
    client: httpx.AsyncClient,
    google: Google,
    odd: Connected,
    honest: list[Connected],
) -> None:
    """The other way round: distinguished, not let off."""
    limit = {"mode": "rate_limit_exceeded_429", "retry_after_seconds": 30}
    await google.behave(grant=odd.grant, calendar=limit)
    first = await client.post(SYNC, headers=odd.headers)
    await google.behave(grant=odd.grant, calendar={"mode": "normal"})
    calls = (await google.verdict())["calendar_calls"]

    others = [await client.post(SYNC, headers=who.headers) for who in honest]

    answers = [first, *others]
    assert {answer.json()["code"] for answer in answers} == {"provider_quota_exhausted"}
    assert (await google.verdict())["calendar_calls"] == calls
