"""What a caller's own deadline ends is nobody else's business, and no failure of the service."""

import asyncio
from collections.abc import Awaitable, Callable

import httpx

from firedrill_kit.resilience.breaker import State
from service.app import Service
from service.upstream import CalendarProvider
from tests.integration.calendar.conftest import Connected, Google
from tests.integration.conftest import Someone
from tests.integration.fairness.conftest import PROFILE, Quiet, all_of

HURRY = {"X-Request-Deadline-Ms": "2"}

Ask = Callable[[Someone], Awaitable[int]]


async def test_answers_that_nobody_waits_for_cost_no_budget_and_no_connection(
    service: Service,
    client: httpx.AsyncClient,
    honest: list[Someone],
    greedy: Someone,
    quiet: Quiet,
) -> None:
    async def ask(who: Someone, headers: dict[str, str] | None = None) -> int:
        given = {**who.headers, **(headers or {})}
        return (await client.get(PROFILE, headers=given)).status_code

    crowd = [asyncio.ensure_future(ask(greedy, HURRY)) for _ in range(100)]
    statuses = await all_of(ask(someone) for someone in honest)
    hurried = set(await asyncio.gather(*crowd))
    while service.database.pool.checkedout():
        await asyncio.sleep(0.01)

    assert statuses == {404}, "nobody has a profile yet, and that is an answer"
    assert hurried <= {404, 408, 429}
    assert 408 in hurried
    quiet.check()


async def test_a_caller_in_a_hurry_says_nothing_about_the_provider(
    service: Service,
    client: httpx.AsyncClient,
    connected: Connected,
    google: Google,
    upstream: CalendarProvider,
    quiet: Quiet,
) -> None:
    await google.behave(calendar_latency_ms=200)
    headers = {**connected.headers, "X-Request-Deadline-Ms": "100"}

    for _ in range(10):
        answer = await client.post("/api/v1/calendar/sync/auto", headers=headers)
        assert answer.json()["code"] == "caller_deadline_exceeded"
    while quiet.samples.grown("http_server_admitted_requests"):
        await asyncio.sleep(0.01)

    assert upstream.breaker.state is State.CLOSED
    assert quiet.samples.grown("http_client_request_duration_seconds_count", error_type="") >= 1
    assert (
        quiet.samples.grown("http_client_request_duration_seconds_count", error_type="cancelled")
        == 0
    )
    quiet.check()
