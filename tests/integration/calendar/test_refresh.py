"""The refresh as several processes see it: each with its own pool, breaker and flights."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from uuid import uuid4

import httpx
import pytest
import structlog

from service import failures
from service.app import Service
from service.config import Config
from service.database import Database
from service.domains.calendar import lease, operations
from service.domains.calendar.access import AccessToken
from service.domains.calendar.grants import Grants
from service.domains.calendar.lease import Claim
from service.failures import Failure
from service.upstream import CalendarProvider, open_http
from service.upstream.messages import Tokens
from tests.integration.calendar.conftest import Connect, Connected, Google, Owner
from tests.signals import Samples, Spans, watched_spans

SYNC = "/api/v1/calendar/sync/auto"
PATIENT = {
    "oauth_http_seconds": 5.0,
    "pool_size": 4,
    "pool_timeout_seconds": 10.0,
    "pool_waiters_max": 1000,
    "connect_timeout_seconds": 10.0,
    "statement_timeout_seconds": 5.0,
    "command_timeout_seconds": 6.0,
    "read_deadline_seconds": 10.0,
}
"""What is tested here is who asks the provider, not how busy the machine may be."""


@dataclass
class Process:
    """What one service process has of the refresh."""

    config: Config
    database: Database
    provider: CalendarProvider
    grants: Grants

    async def token_of(self, who: Connected) -> AccessToken:
        return await self.grants.access_token(who.account_id)


StartProcess = Callable[..., Awaitable[Process]]


@pytest.fixture
async def start(service: Service) -> AsyncIterator[StartProcess]:
    """Start processes; their configuration differs from the service's by what is given."""
    async with AsyncExitStack() as stack:

        async def process(
            *, clock: Callable[[], float] = time.monotonic, **changes: object
        ) -> Process:
            values = {**service.config.model_dump(), **PATIENT, **changes}
            config = Config.model_validate(values)
            database = Database(config)
            stack.push_async_callback(database.close)
            http = await stack.enter_async_context(open_http(config))
            provider = CalendarProvider(http, config)
            grants = Grants(database, provider, config, clock=clock)
            stack.push_async_callback(grants.close)
            await operations.count_grants(database)  # the first connection is there
            return Process(config, database, provider, grants)

        yield process


async def row_of(owner: Owner, who: Connected) -> dict[str, object]:
    row = await owner.fetchrow("SELECT * FROM oauth_grants WHERE account_id = $1", who.account_id)
    assert row is not None
    return dict(row)


async def claimed(process: Process, who: Connected, *, lease_seconds: float) -> Claim:
    """Take the lease as a holder does who is then never heard of again."""
    claim = await process.database.run(
        partial(
            lease.claim,
            account_id=who.account_id,
            seen_version=1,
            owner=uuid4(),
            attempt=uuid4(),
            lease_seconds=lease_seconds,
        )
    )
    assert isinstance(claim, Claim)
    return claim


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(30):
        while not await condition():
            await asyncio.sleep(0.01)


async def called(google: Google, who: Connected) -> bool:
    return int((await google.verdict(who.grant))["token_calls"]) > 0


async def test_many_callers_in_four_processes_cause_one_call(
    start: StartProcess, expired: Connected, google: Google, owner: Owner
) -> None:
    processes = [await start() for _ in range(4)]
    await google.behave(rotation="strict", token_latency_ms=200)
    samples = Samples()

    tokens = await asyncio.gather(
        *(process.token_of(expired) for process in processes for _ in range(25))
    )

    verdict = await google.verdict(expired.grant)
    assert verdict["token_calls"] == verdict["most_concurrent_token_calls"] == 1
    assert verdict["reuse_seen"] == 0
    assert len({token.value for token in tokens}) == 1
    row = await row_of(owner, expired)
    assert (row["token_version"], row["lease_owner"], row["attempt_id"]) == (2, None, None)
    assert samples.grown("oauth_refresh_total") == 1
    assert samples.grown("oauth_refresh_coalesced_total", scope="process") == 4 * 24
    assert samples.grown("oauth_refresh_coalesced_total", scope="cluster") == 3


async def test_each_of_many_grants_is_refreshed_once(
    start: StartProcess, connect: Connect, google: Google
) -> None:
    processes = [await start() for _ in range(2)]
    grants = [await connect(expires_in_seconds=-1) for _ in range(20)]
    await google.behave(rotation="strict", token_latency_ms=100)

    await asyncio.gather(*(p.token_of(who) for p in processes for who in grants for _ in range(3)))

    verdict = await google.verdict()
    assert verdict["token_calls"] == 20
    assert verdict["most_concurrent_token_calls_per_grant"] == 1
    assert verdict["reuse_seen"] == 0


async def test_no_connection_is_held_while_the_provider_thinks(
    start: StartProcess, connect: Connect, google: Google
) -> None:
    process = await start(pool_size=2, oauth_http_seconds=20.0)
    grants = [await connect(expires_in_seconds=-1) for _ in range(10)]
    await google.behave(token={"mode": "hang", "seconds": 30})

    waiting = [asyncio.create_task(process.token_of(who)) for who in grants]
    await until(partial(_in_flight, google, 10))

    assert process.database.pool.checkedout() == 0
    await process.grants.close(seconds=0)
    await asyncio.gather(*waiting, return_exceptions=True)


async def _in_flight(google: Google, calls: int) -> bool:
    return bool((await google.verdict())["token_calls_in_flight"] == calls)


async def test_a_holder_that_never_comes_back_is_replaced_when_its_lease_ends(
    start: StartProcess, expired: Connected, google: Google, owner: Owner
) -> None:
    crashed, survivor = await start(), await start()
    await claimed(crashed, expired, lease_seconds=0.5)
    samples = Samples()

    await survivor.token_of(expired)

    assert (await google.verdict(expired.grant))["token_calls"] == 1
    assert samples.grown("oauth_lease_takeovers_total") == 1
    assert (await row_of(owner, expired))["token_version"] == 2


@pytest.mark.parametrize("rotation", ["none", "grace"])
async def test_a_crash_after_the_providers_answer_is_survived_where_the_provider_allows_it(
    start: StartProcess, expired: Connected, google: Google, rotation: str
) -> None:
    crashed, survivor = await start(), await start()
    await google.behave(rotation=rotation, grace_seconds=30.0)
    await claimed(crashed, expired, lease_seconds=0.3)
    await crashed.provider.refresh(expired.refresh_token)

    token = await survivor.token_of(expired)

    assert token.version == 2


async def test_a_crash_after_a_strict_rotation_is_told_from_a_revocation(
    start: StartProcess, expired: Connected, google: Google, owner: Owner
) -> None:
    crashed, survivor = await start(), await start()
    await google.behave(rotation="strict")
    await claimed(crashed, expired, lease_seconds=0.3)
    await crashed.provider.refresh(expired.refresh_token)
    samples = Samples()

    results = await asyncio.gather(
        *(survivor.token_of(expired) for _ in range(10)), return_exceptions=True
    )

    assert {type(result) for result in results} == {Failure}
    assert {result.cause for result in results if isinstance(result, Failure)} == {"lost_rotation"}
    assert samples.grown("oauth_refresh_total", outcome="lost_rotation") == 1
    assert (await row_of(owner, expired))["last_error"] == "lost_rotation"


async def test_an_answer_that_is_lost_on_the_way_is_asked_for_once_more(
    start: StartProcess, expired: Connected, google: Google
) -> None:
    process = await start()
    await google.behave(
        rotation="grace", grace_seconds=30.0, token={"mode": "lost_response", "times": 1}
    )

    token = await process.token_of(expired)

    assert token.version == 2
    assert (await google.verdict(expired.grant))["token_calls"] == 2


async def test_a_lost_answer_under_strict_rotation_is_a_lost_rotation(
    start: StartProcess, expired: Connected, google: Google
) -> None:
    process = await start()
    await google.behave(rotation="strict", token={"mode": "lost_response", "times": 1})

    with pytest.raises(Failure) as caught:
        await process.token_of(expired)

    assert caught.value.mode is failures.CALENDAR_REAUTH_REQUIRED
    assert caught.value.cause == "lost_rotation"


async def test_a_revoked_grant_is_asked_about_once_and_then_never_again(
    start: StartProcess, expired: Connected, google: Google, owner: Owner
) -> None:
    processes = [await start() for _ in range(2)]
    await google.behave(token={"mode": "invalid_grant"})
    samples = Samples()

    for _ in range(2):
        results = await asyncio.gather(
            *(process.token_of(expired) for process in processes for _ in range(10)),
            return_exceptions=True,
        )
        for result in results:
            assert isinstance(result, Failure)
            assert result.mode is failures.CALENDAR_REAUTH_REQUIRED
            assert result.extensions["reason"] == "revoked"

    assert (await google.verdict(expired.grant))["token_calls"] == 1
    assert samples.grown("oauth_refresh_total", outcome="invalid_grant") == 1
    assert (await row_of(owner, expired))["status"] == "reauth_required"


async def test_our_own_credentials_refused_is_tried_again_a_minute_later(
    start: StartProcess, expired: Connected, google: Google, owner: Owner
) -> None:
    process = await start()
    await google.behave(token={"mode": "invalid_client"})
    for _ in range(2):
        with pytest.raises(Failure) as caught:
            await process.token_of(expired)
        assert caught.value.mode is failures.PROVIDER_MISCONFIGURED
    calls = (await google.verdict(expired.grant))["token_calls"]
    await google.behave(reset=True)
    await owner.execute(
        "UPDATE oauth_grants SET attempt_sent_at = attempt_sent_at - interval '61 s'"
        " WHERE account_id = $1",
        expired.account_id,
    )

    await process.token_of(expired)

    assert calls == 1
    assert (await row_of(owner, expired))["status"] == "ok"


async def test_a_key_that_does_not_fit_harms_neither_the_grant_nor_other_processes(
    start: StartProcess, expired: Connected, google: Google
) -> None:
    misconfigured, healthy = await start(grant_keys={"g1": "x" * 32}), await start()
    samples = Samples()

    with pytest.raises(Failure) as caught:
        await misconfigured.token_of(expired)

    assert caught.value.mode is failures.PROVIDER_MISCONFIGURED
    assert caught.value.cause == "decrypt_failed"
    assert samples.grown("oauth_refresh_total", outcome="decrypt_failed") == 1
    assert not await called(google, expired)
    await healthy.token_of(expired)


async def test_a_new_key_opens_what_the_old_one_sealed_and_seals_what_is_new(
    start: StartProcess, expired: Connected
) -> None:
    new, old = "n" * 32, "g" * 32
    rotating = await start(grant_keys={"g2": new, "g1": old})

    token = await rotating.token_of(expired)

    rotated = await start(grant_keys={"g2": new})
    assert await rotated.token_of(expired) == token


async def test_answered_errors_are_tried_three_times_and_retry_after_is_kept(
    start: StartProcess, expired: Connected, google: Google
) -> None:
    process = await start(oauth_http_seconds=5.0)
    await google.behave(token={"mode": "error_503", "times": 2, "retry_after_seconds": 1})
    started = time.monotonic()

    await process.token_of(expired)

    assert time.monotonic() - started >= 2.0
    assert (await google.verdict(expired.grant))["token_calls"] == 3


@pytest.mark.parametrize(
    ("mode", "status", "code", "calls", "outcome"),
    [
        ("invalid_grant", 409, "calendar_reauth_required", 1, "invalid_grant"),
        ("invalid_client", 500, "provider_misconfigured", 1, "invalid_client"),
        ("unauthorized_client", 500, "provider_misconfigured", 1, "invalid_client"),
        ("deleted_client", 500, "provider_misconfigured", 1, "invalid_client"),
        ("disabled_client", 500, "provider_misconfigured", 1, "invalid_client"),
        ("admin_policy_enforced", 409, "calendar_reauth_required", 1, "invalid_grant"),
        ("access_denied", 409, "calendar_reauth_required", 1, "invalid_grant"),
        ("error_429", 429, "provider_rate_limited", 1, "rate_limited"),
        ("error_500", 503, "provider_unavailable", 3, "provider_error"),
        ("error_503", 503, "provider_unavailable", 3, "provider_error"),
        ("close", 503, "provider_unavailable", 2, "network"),
        ("reset", 503, "provider_unavailable", 2, "network"),
        ("html", 502, "provider_bad_response", 1, "provider_error"),
        ("truncated_json", 502, "provider_bad_response", 1, "provider_error"),
        ("wrong_types", 502, "provider_bad_response", 1, "provider_error"),
        ("no_access_token", 502, "provider_bad_response", 1, "provider_error"),
        ("reduced_scope", 409, "calendar_scope_missing", 1, "success"),
    ],
)
async def test_a_token_endpoint_in_trouble_is_answered_by_what_is_wrong_with_it(
    client: httpx.AsyncClient,
    expired: Connected,
    google: Google,
    owner: Owner,
    mode: str,
    status: int,
    code: str,
    calls: int,
    outcome: str,
) -> None:
    await google.behave(token={"mode": mode})
    samples = Samples()

    answer = await client.post(SYNC, headers=expired.headers)

    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert ("retry-after" in answer.headers) == (status in {429, 503})
    assert ("reauth_url" in answer.json()) == (status == 409)
    assert (await google.verdict(expired.grant))["token_calls"] == calls
    assert samples.grown("oauth_refresh_total", outcome=outcome) == 1
    assert samples.grown("oauth_refresh_total") == 1
    assert (await row_of(owner, expired))["lease_owner"] is None


async def test_a_token_endpoint_that_hangs_is_a_timeout_and_is_asked_once(
    start: StartProcess, expired: Connected, google: Google
) -> None:
    process = await start(oauth_http_seconds=0.3)
    await google.behave(token={"mode": "hang", "seconds": 30})
    samples = Samples()

    with pytest.raises(Failure) as caught:
        await process.token_of(expired)

    assert caught.value.mode is failures.PROVIDER_TIMEOUT
    assert samples.grown("oauth_refresh_total", outcome="timeout") == 1
    assert (await google.verdict(expired.grant))["token_calls"] == 1


async def test_a_caller_out_of_time_leaves_and_the_refresh_is_stored_all_the_same(
    client: httpx.AsyncClient,
    expired: Connected,
    google: Google,
    owner: Owner,
    service: Service,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await google.behave(rotation="strict", token_latency_ms=800)
    hurried = service.config.model_copy(update={"calendar_deadline_seconds": 0.4})
    monkeypatch.setattr(service, "config", hurried)

    answer = await client.post(SYNC, headers=expired.headers)

    assert (answer.status_code, answer.json()["code"]) == (503, "provider_unavailable")
    assert "retry-after" in answer.headers
    await until(partial(_has_version, owner, expired, 2))


async def _has_version(owner: Owner, who: Connected, version: int) -> bool:
    return (await row_of(owner, who))["token_version"] == version


async def test_callers_cancelled_at_any_moment_leave_a_stored_refresh(
    start: StartProcess, connect: Connect, google: Google, owner: Owner
) -> None:
    process = await start()
    await google.behave(rotation="strict", token_latency_ms=20)
    chance = random.Random(7)  # noqa: S311 - a reproducible choice, not a secret
    first, *grants = [await connect(expires_in_seconds=-1) for _ in range(21)]
    started = time.monotonic()
    await process.token_of(first)
    seconds = time.monotonic() - started

    for who in grants:
        caller = asyncio.create_task(process.token_of(who))
        await asyncio.sleep(chance.uniform(0, 1.5 * seconds))
        caller.cancel()
        await asyncio.gather(caller, return_exceptions=True)
    await process.grants.close(seconds=10)

    verdict = await google.verdict()
    assert verdict["reuse_seen"] == 0
    for who in grants:
        calls = (await google.verdict(who.grant))["token_calls"]
        assert (await row_of(owner, who))["token_version"] == 1 + calls
    assert verdict["token_calls"] > 1, "some were cancelled while the provider was asked"
    assert process.database.pool.checkedout() == 0


class ScriptedProvider(CalendarProvider):
    """Answers a refresh when the test lets it; stands for a process that is paused in the middle."""

    def __init__(self, config: Config) -> None:
        super().__init__(httpx.AsyncClient(), config)
        self.asked = asyncio.Event()
        self.answer: asyncio.Future[Tokens] = asyncio.get_running_loop().create_future()

    async def refresh(self, refresh_token: str) -> Tokens:
        self.asked.set()
        return await self.answer


async def paused_holder(process: Process) -> ScriptedProvider:
    provider = ScriptedProvider(process.config)
    process.grants = Grants(process.database, provider, process.config)
    return provider


async def overtaken(
    start: StartProcess, expired: Connected, owner: Owner
) -> tuple[ScriptedProvider, "asyncio.Task[AccessToken]", AccessToken]:
    """A holder that is paused while asking, and another that takes over and finishes."""
    slow, fast = await start(), await start()
    provider = await paused_holder(slow)
    late = asyncio.create_task(slow.token_of(expired))
    await provider.asked.wait()
    await owner.execute(
        "UPDATE oauth_grants SET lease_until = now() - interval '1 s' WHERE account_id = $1",
        expired.account_id,
    )
    return provider, late, await fast.token_of(expired)


async def test_a_late_success_never_replaces_a_newer_one(
    start: StartProcess, expired: Connected, owner: Owner
) -> None:
    provider, late, winner = await overtaken(start, expired, owner)
    stored = await row_of(owner, expired)
    samples = Samples()

    provider.answer.set_result(
        Tokens(
            access_token="at-late", expires_in=3600, token_type="Bearer", refresh_token="rt-late"
        )
    )

    assert await late == winner
    assert await row_of(owner, expired) == stored
    assert samples.grown("oauth_refresh_total", outcome="superseded") == 1


async def test_a_late_refusal_never_ends_a_grant_that_somebody_else_refreshed(
    start: StartProcess, expired: Connected, owner: Owner
) -> None:
    provider, late, winner = await overtaken(start, expired, owner)
    refused = await start()
    with pytest.raises(Failure) as refusal:
        await refused.provider.refresh("rt-unknown")

    provider.answer.set_exception(refusal.value)

    assert await late == winner
    assert (await row_of(owner, expired))["status"] == "ok"


async def test_a_database_in_trouble_does_not_lose_a_rotated_token(
    start: StartProcess, expired: Connected, google: Google, owner: Owner
) -> None:
    process = await start()
    await google.behave(rotation="strict", token_latency_ms=1500)  # time to take the lock
    samples = Samples()
    refreshing = asyncio.create_task(process.token_of(expired))
    await until(partial(called, google, expired))

    async with owner.transaction():
        await owner.execute(
            "SELECT 1 FROM oauth_grants WHERE account_id = $1 FOR UPDATE", expired.account_id
        )
        await until(
            partial(_grown, samples, "db_client_operation_duration_seconds_count", "lock_timeout")
        )
    token = await refreshing

    assert token.version == 2
    assert (await row_of(owner, expired))["token_version"] == 2


async def _grown(samples: Samples, name: str, error_type: str) -> bool:
    return samples.grown(name, error_type=error_type) > 0


async def test_a_provider_that_rotates_nothing_leaves_the_old_refresh_token_in_place(
    start: StartProcess, expired: Connected, google: Google, owner: Owner
) -> None:
    process = await start()
    before = (await row_of(owner, expired))["refresh_token_enc"]

    await process.token_of(expired)

    assert (await row_of(owner, expired))["refresh_token_enc"] == before


async def test_a_rotated_refresh_token_is_the_one_that_is_used_next(
    start: StartProcess, expired: Connected, google: Google
) -> None:
    process = await start()
    await google.behave(rotation="strict")

    for _ in range(3):
        token = await process.token_of(expired)
        await process.grants.access_token(expired.account_id, refused=token)

    verdict = await google.verdict(expired.grant)
    assert (verdict["token_calls"], verdict["reuse_seen"]) == (4, 0)


async def test_a_reduced_scope_ends_without_further_calls(
    start: StartProcess, expired: Connected, google: Google
) -> None:
    process = await start()
    await google.behave(token={"mode": "reduced_scope"})

    for _ in range(3):
        with pytest.raises(Failure) as caught:
            await process.token_of(expired)
        assert caught.value.mode is failures.CALENDAR_SCOPE_MISSING
        assert "reauth_url" in caught.value.extensions

    assert (await google.verdict(expired.grant))["token_calls"] == 1


@pytest.mark.parametrize("skew_seconds", [-3600.0, 3600.0])
async def test_the_clock_of_a_process_does_not_matter(
    start: StartProcess, connect: Connect, google: Google, skew_seconds: float
) -> None:
    odd = await start(clock=lambda: time.monotonic() + skew_seconds)
    even = await start()
    fresh, stale = await connect(), await connect(expires_in_seconds=-1)

    await asyncio.gather(*(p.token_of(who) for p in (odd, even) for who in (fresh, stale)))

    assert (await google.verdict(fresh.grant))["token_calls"] == 0
    assert (await google.verdict(stale.grant))["token_calls"] == 1


async def test_a_waiter_in_another_process_links_to_the_trace_of_the_refresh(
    start: StartProcess, expired: Connected, service: Service
) -> None:
    leader, follower = await start(), await start()
    provider = await paused_holder(leader)

    with watched_spans(service.tracing) as spans:
        leading = asyncio.create_task(leader.token_of(expired))
        await provider.asked.wait()
        following = asyncio.create_task(follower.token_of(expired))
        await until(partial(_waited, spans))
        provider.answer.set_result(
            Tokens(access_token="at-new", expires_in=3600, token_type="Bearer")
        )
        assert await following == await leading

    linked = {
        (link.context.trace_id, link.context.span_id)
        for span in spans.ended
        if span.name == "oauth.lease.wait" and span.parent is not None
        for link in span.links
    }
    roots = {
        (span.context.trace_id, span.context.span_id)
        for span in spans.ended
        if span.name == "oauth.refresh" and span.context is not None
    }
    assert len(linked) == 1
    assert linked < roots


async def _waited(spans: Spans) -> bool:
    return any(span.name == "oauth.lease.wait" for span in spans.ended)


@pytest.mark.parametrize("mode", ["invalid_grant", "wrong_types", "lost_response", "error_500"])
async def test_no_token_is_seen_in_logs_spans_or_answers(
    client: httpx.AsyncClient, expired: Connected, google: Google, service: Service, mode: str
) -> None:
    await google.behave(rotation="strict", token={"mode": mode})

    with structlog.testing.capture_logs() as lines, watched_spans(service.tracing) as spans:
        answer = await client.post(SYNC, headers=expired.headers)

    assert answer.status_code >= 400
    said = [answer.text, repr(lines), *(span.to_json() for span in spans.ended)]
    assert spans.ended
    for secret in ("rt-g", "at-g", "firedrill-local-secret", expired.someone.token):
        assert not any(secret in text for text in said), secret
