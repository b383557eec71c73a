"""The provider's client against answers made in this process: what is sent, tried again, and counted."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from urllib.parse import urlencode

import httpx
import pytest
from opentelemetry.trace import SpanKind

from firedrill_kit.resilience.breaker import State
from service import failures
from service.config import Config
from service.failures import Failure
from service.upstream import CalendarProvider, open_http
from service.upstream.calls import MAX_BODY_BYTES
from service.upstream.client import FIELDS
from service.upstream.errors import CallFailed
from tests.signals import Samples
from tests.unit.telemetry.instruments import attributes_of, telemetry

Answer = Callable[[httpx.Request], httpx.Response]
TOKENS = {"access_token": "at-1", "expires_in": 3600, "token_type": "Bearer"}
PAGE = {"items": [], "nextSyncToken": "s"}


class Peer:
    """Plays the provider: answers in turn, the last one for ever; keeps what it was asked."""

    def __init__(self, *answers: httpx.Response | Exception) -> None:
        self._answers = list(answers)
        self.requests: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, Exception):
            raise answer
        if not answer.is_stream_consumed:
            return answer
        return httpx.Response(
            answer.status_code, headers=answer.headers, content=_arriving(answer.content)
        )


async def _arriving(content: bytes) -> AsyncIterator[bytes]:
    yield content


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def client(peer: Peer, clock: Callable[[], float] = time.monotonic) -> CalendarProvider:
    config = Config()
    http = open_http(config, transport=httpx.MockTransport(peer))
    return CalendarProvider(http, config, clock=clock, jitter=lambda: 0.0, sleep=_no_pause)


async def _no_pause(_seconds: float) -> None:
    """Retries wait for seconds, which is nothing that these tests are about."""


def ok(content: object) -> httpx.Response:
    return httpx.Response(200, json=content)


def broken(status: int = 500, **headers: str) -> httpx.Response:
    return httpx.Response(status, headers=headers)


async def failure_of(provider: CalendarProvider) -> Failure:
    with pytest.raises(CallFailed) as caught:
        await provider.list_events("at-1")
    return caught.value


async def test_a_page_is_asked_for_as_google_wants_it() -> None:
    peer = Peer(ok(PAGE))

    provider = client(peer)
    window = datetime(2025, 11, 24, tzinfo=UTC), datetime(2027, 11, 24, tzinfo=UTC)
    await provider.list_events("at-1", sync_token="s&1", page_token="p")
    await provider.list_events("at-1", window=window)

    request, everything = peer.requests
    assert request.url.path == "/calendar/v3/calendars/primary/events"
    asked = {
        "maxResults": "2500",
        "singleEvents": "true",
        "fields": "items(id,etag,status,summary,start,end),nextPageToken,nextSyncToken",
    }
    assert dict(request.url.params) == {**asked, "syncToken": "s&1", "pageToken": "p"}
    assert dict(everything.url.params) == {
        **asked,
        "timeMin": "2025-11-24T00:00:00+00:00",
        "timeMax": "2027-11-24T00:00:00+00:00",
    }
    assert request.headers["authorization"] == "Bearer at-1"
    assert request.headers["accept-encoding"] == "identity"
    assert "traceparent" not in request.headers


async def test_a_refresh_sends_its_secrets_in_the_body_only() -> None:
    peer = Peer(ok(TOKENS))

    tokens = await client(peer).refresh("rt-1")

    (request,) = peer.requests
    assert tokens.access_token == "at-1"
    assert request.url.query == b""
    assert b"refresh_token=rt-1" in request.content
    assert b"client_secret=" in request.content


async def test_a_redirect_is_not_followed() -> None:
    """It would carry the token to wherever it points."""
    peer = Peer(broken(302, location="http://elsewhere.example/"), ok(PAGE))

    failure = await failure_of(client(peer))

    assert failure.mode is failures.PROVIDER_ERROR
    assert len(peer.requests) == 1


async def test_three_attempts_are_made_and_no_fourth() -> None:
    peer = Peer(broken())
    samples = Samples()

    failure = await failure_of(client(peer))

    assert failure.mode is failures.PROVIDER_ERROR
    assert len(peer.requests) == 3
    retries = {"name": "retry_attempts_total", "operation": "calendar_fetch"}
    assert samples.grown(**retries, outcome="retried") == 2
    assert samples.grown(**retries, outcome="exhausted") == 1
    observed = "http_client_request_duration_seconds_count"
    labels = {"http_request_method": "GET", "server_address": "127.0.0.1", "server_port": "8091"}
    assert (
        samples.grown(observed, http_response_status_code="500", error_type="500", **labels) == 3
    )


@pytest.mark.parametrize(
    "base", ["http://127.0.0.1:8090", "https://user:s3cr3t@calendar.example/google"]
)
async def test_an_attempt_leaves_a_span_that_says_what_was_called_and_no_secret(base: str) -> None:
    config = Config(provider_url=base)
    http = open_http(config, transport=httpx.MockTransport(Peer(broken(), ok(PAGE))))
    provider = CalendarProvider(http, config, jitter=lambda: 0.0)

    with telemetry() as seen:
        await provider.list_events("at-1", sync_token="s3cr3t", page_token="s3cr3t")

    first, second = seen.ended
    assert {span.name for span in seen.ended} == {"GET /calendar/v3/calendars/primary/events"}
    assert {span.kind for span in seen.ended} == {SpanKind.CLIENT}
    attributes = attributes_of(second)
    is_local = "127.0.0.1" in base
    fields = urlencode({"fields": FIELDS})
    place = "http://127.0.0.1:8090" if is_local else "https://calendar.example/google"
    assert attributes == {
        "http.request.method": "GET",
        "http.request.resend_count": 1,
        "http.response.status_code": 200,
        "server.address": "127.0.0.1" if is_local else "calendar.example",
        "server.port": 8090 if is_local else 443,
        "url.template": "/calendar/v3/calendars/primary/events",
        "url.full": f"{place}/calendar/v3/calendars/primary/events"
        f"?maxResults=2500&singleEvents=true&{fields}&syncToken=REDACTED&pageToken=REDACTED",
        "firedrill.operation": "calendar_fetch",
    }
    assert attributes_of(first)["error.type"] == "500"
    assert "s3cr3t" not in first.to_json() + second.to_json()


async def test_a_refresh_that_may_have_arrived_is_repeated_once() -> None:
    peer = Peer(httpx.ReadError("reset"))

    with pytest.raises(CallFailed) as caught:
        await client(peer).refresh("rt-1")

    assert len(peer.requests) == 2
    assert caught.value.is_unanswered


async def test_a_refresh_that_never_left_is_not_unanswered() -> None:
    peer = Peer(httpx.ConnectError("refused"))

    with pytest.raises(CallFailed) as caught:
        await client(peer).refresh("rt-1")

    assert len(peer.requests) == 3
    assert not caught.value.is_unanswered


async def test_a_refusal_after_a_lost_answer_remembers_the_lost_answer() -> None:
    peer = Peer(httpx.ReadError("reset"), httpx.Response(400, json={"error": "invalid_grant"}))

    with pytest.raises(CallFailed) as caught:
        await client(peer).refresh("rt-1")

    assert caught.value.mode is failures.CALENDAR_REAUTH_REQUIRED
    assert caught.value.is_unanswered


async def test_a_code_that_may_have_arrived_is_never_sent_again() -> None:
    peer = Peer(httpx.ReadError("reset"))

    with pytest.raises(CallFailed):
        await client(peer).exchange_code("ac-1")

    assert len(peer.requests) == 1


async def test_a_retry_after_beyond_a_requests_patience_is_handed_to_the_caller() -> None:
    peer = Peer(broken(503, **{"retry-after": "30"}))

    failure = await failure_of(client(peer))

    assert len(peer.requests) == 1
    assert failure.retry_after_seconds == 30


async def test_the_budget_of_retries_is_shared_by_all_callers() -> None:
    peer = Peer(httpx.PoolTimeout(""))  # neutral to the breaker, so the budget is what ends it
    provider = client(peer)
    samples = Samples()

    await asyncio.gather(*(failure_of(provider) for _ in range(30)))

    assert len(peer.requests) == 30 + 10
    retries = {"name": "retry_attempts_total", "operation": "calendar_fetch"}
    assert samples.grown(**retries, outcome="retried") == 10
    assert samples.grown(**retries, outcome="no_budget") > 0


async def test_one_users_limit_takes_no_retry_away_from_the_others() -> None:
    limited = client(Peer(*[broken(429)] * 90, broken(503), ok(PAGE)))
    for _ in range(30):
        await failure_of(limited)

    page = await limited.list_events("at-2")

    assert page.next_sync_token == "s"


@pytest.mark.parametrize("status", [403, 429])
async def test_only_a_limit_of_the_project_stops_everybody(status: int) -> None:
    named = {
        "user": "Queries per minute per user",
        "project": "Queries per minute",
    }
    after: dict[str, int] = {}
    for scope, limit in named.items():
        body = {
            "error": {
                "message": f"limit '{limit}' of",
                "errors": [{"reason": "rateLimitExceeded"}],
            }
        }
        refused = httpx.Response(status, json=body, headers={"retry-after": "30"})
        peer = Peer(refused, ok(PAGE))
        provider = client(peer, Clock())
        await failure_of(provider)
        await asyncio.gather(
            *(provider.list_events(f"at-{n}") for n in range(20)), return_exceptions=True
        )
        after[scope] = len(peer.requests) - 1

    assert after == {"user": 20, "project": 0}


async def test_no_retry_is_made_into_a_breaker_that_has_just_opened() -> None:
    peer = Peer(broken())
    provider = client(peer)

    first, second = await failure_of(provider), await failure_of(provider)
    third = await failure_of(provider)

    assert provider.breaker.state is State.OPEN
    assert len(peer.requests) == 5, "five failed attempts open it"
    assert first.mode is second.mode is failures.PROVIDER_ERROR
    assert third.mode is failures.PROVIDER_CIRCUIT_OPEN
    assert third.retry_after_seconds is not None
    assert third.retry_after_seconds >= 1


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 429])
async def test_a_provider_that_refuses_is_not_one_that_is_down(status: int) -> None:
    provider = client(Peer(broken(status)))

    for _ in range(10):
        await failure_of(provider)

    assert provider.breaker.state is State.CLOSED


async def test_a_project_out_of_quota_asks_nothing_until_the_provider_said() -> None:
    clock = Clock()
    reason = {"error": {"errors": [{"reason": "dailyLimitExceeded"}]}}
    peer = Peer(httpx.Response(403, json=reason, headers={"retry-after": "40"}), ok(PAGE))
    provider = client(peer, clock)

    first = await failure_of(provider)
    clock.now += 15
    second = await failure_of(provider)
    clock.now += 26
    page = await provider.list_events("at-1")

    assert first.mode is second.mode is failures.PROVIDER_QUOTA_EXHAUSTED
    assert second.retry_after_seconds == 25
    assert page.next_sync_token == "s"
    assert len(peer.requests) == 2


async def test_a_body_without_end_is_not_read_to_its_end() -> None:
    sent = 0

    async def flood() -> AsyncIterator[bytes]:
        nonlocal sent
        yield b'{"items": []'
        while True:
            sent += 1
            yield b" " * 1_000_000

    failure = await failure_of(client(Peer(httpx.Response(200, content=flood()))))

    assert failure.mode is failures.PROVIDER_BAD_RESPONSE
    assert sent <= MAX_BODY_BYTES / 1_000_000 + 1


async def test_a_cancelled_call_leaves_the_breaker_as_it_was() -> None:
    started = asyncio.Event()

    async def endless(_request: httpx.Request) -> httpx.Response:
        started.set()
        await asyncio.Event().wait()
        raise AssertionError

    config = Config()
    http = open_http(config, transport=httpx.MockTransport(endless))
    provider = CalendarProvider(http, config)
    for _ in range(10):
        started.clear()
        call = asyncio.create_task(provider.list_events("at-1"))
        await started.wait()
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)

    assert provider.breaker.state is State.CLOSED


async def test_what_the_provider_says_does_not_show_in_what_we_raise() -> None:
    body = json.dumps({"access_token": "at-secret", "expires_in": 1, "token_type": "mac"})
    provider = client(Peer(httpx.Response(200, content=body)))

    with pytest.raises(CallFailed) as caught:
        await provider.refresh("rt-secret")

    error: BaseException | None = caught.value
    while error is not None:
        assert "secret" not in f"{error} {error!r} {error.args}"
        error = error.__cause__
