"""Each mode of the simulated provider, as a client on the other end of the connection meets it."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import httpx
import pytest

from stack.provider.app import Settings, serving

EVENTS = "/calendar/v3/calendars/primary/events"
CLIENT = {"client_id": "firedrill-local-client", "client_secret": "firedrill-local-secret"}


class Connected:
    """A client of the simulator with one grant."""

    def __init__(self, http: httpx.AsyncClient, grant: dict[str, Any]) -> None:
        self.http = http
        self.grant_id: str = grant["grant"]
        self.refresh_token: str = grant["refresh_token"]
        self._headers = {"Authorization": f"Bearer {grant['access_token']}"}

    async def control(self, **settings: object) -> None:
        answer = await self.http.post("/_control", json=settings)
        assert answer.status_code == 200, answer.text

    async def refresh(self) -> httpx.Response:
        form = {**CLIENT, "grant_type": "refresh_token", "refresh_token": self.refresh_token}
        return await self.http.post("/token", data=form)

    async def events(self, **query: str) -> httpx.Response:
        return await self.http.get(EVENTS, headers=self._headers, params=query)

    async def abandon(self, call: Callable[[], Awaitable[httpx.Response]]) -> None:
        """Leave a call after it has arrived and before it is answered."""
        before = await self.verdict()
        task = asyncio.create_task(_awaited(call))
        while _calls(await self.verdict()) == _calls(before):
            pass
        assert not task.done()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    async def verdict(self) -> dict[str, Any]:
        judged: dict[str, Any] = (await self.http.get("/_judge")).json()["grants"][self.grant_id]
        return judged


async def _awaited(call: Callable[[], Awaitable[httpx.Response]]) -> httpx.Response:
    return await call()


def _calls(verdict: dict[str, Any]) -> int:
    return int(verdict["token_calls"]) + int(verdict["calendar_calls"])


@pytest.fixture(scope="module")
async def http() -> AsyncIterator[httpx.AsyncClient]:
    async with serving(Settings()) as url, httpx.AsyncClient(base_url=url, timeout=20) as client:
        yield client


@pytest.fixture
async def user(http: httpx.AsyncClient) -> Connected:
    await http.post("/_control", json={"reset": True})
    return Connected(http, (await http.post("/_grants", json={"events": 3})).json())


@pytest.mark.parametrize(
    ("mode", "status", "error"),
    [
        ("invalid_grant", 400, "invalid_grant"),
        ("invalid_client", 401, "invalid_client"),
        ("unauthorized_client", 401, "unauthorized_client"),
        ("error_429", 429, "rate_limit_exceeded"),
        ("error_500", 500, "internal_failure"),
        ("error_503", 503, "temporarily_unavailable"),
    ],
)
async def test_a_token_error_in_front_comes_so_often_and_leaves_the_grant_alone(
    user: Connected, mode: str, status: int, error: str
) -> None:
    await user.control(rotation="strict", token={"mode": mode, "times": 2})

    refused = [await user.refresh() for _ in range(2)]
    healed = await user.refresh()

    assert [(r.status_code, r.json()["error"]) for r in refused] == [(status, error)] * 2
    assert healed.status_code == 200
    verdict = await user.verdict()
    assert verdict["outcomes"] == {mode: 2, "success": 1}
    assert verdict["refresh_token_generation"] == 2


@pytest.mark.parametrize(
    ("mode", "status", "reason"),
    [
        ("unauthorized", 401, "authError"),
        ("insufficient_permissions", 403, "insufficientPermissions"),
        ("user_rate_limit_exceeded", 403, "userRateLimitExceeded"),
        ("rate_limit_exceeded", 403, "rateLimitExceeded"),
        ("quota_exceeded", 403, "quotaExceeded"),
        ("daily_limit_exceeded", 403, "dailyLimitExceeded"),
        ("error_429", 429, "rateLimitExceeded"),
        ("error_500", 500, "backendError"),
        ("error_503", 503, "backendError"),
    ],
)
async def test_a_calendar_error_comes_so_often_and_then_no_more(
    user: Connected, mode: str, status: int, reason: str
) -> None:
    await user.control(calendar={"mode": mode, "times": 1})

    refused, healed = await user.events(), await user.events()

    error = refused.json()["error"]
    assert (refused.status_code, error["code"]) == (status, status)
    assert error["errors"][0]["reason"] == reason
    assert ("usageLimits" in refused.text) == (reason.endswith("Exceeded"))
    assert healed.status_code == 200
    verdict = await user.verdict()
    assert verdict["calendar_outcomes"] == {mode: 1, "success": 1}


async def test_a_429_says_when_to_come_back(user: Connected) -> None:
    await user.control(
        token={"mode": "error_429"}, calendar={"mode": "error_429", "retry_after_seconds": 17}
    )

    answers = [await user.refresh(), await user.events()]

    assert [answer.headers["retry-after"] for answer in answers] == ["5", "17"]


async def test_gone_hits_the_incremental_sync_and_lets_the_full_one_pass(user: Connected) -> None:
    sync_token = (await user.events()).json()["nextSyncToken"]
    await user.control(calendar={"mode": "gone"})

    assert (await user.events(syncToken=sync_token)).status_code == 410
    assert (await user.events()).status_code == 200


async def test_a_fault_of_one_grant_spares_the_others(user: Connected) -> None:
    other = Connected(user.http, (await user.http.post("/_grants", json={})).json())
    await user.control(grant=user.grant_id, token={"mode": "error_500"})

    assert (await user.refresh()).status_code == 500
    assert (await other.refresh()).status_code == 200


@pytest.mark.parametrize("endpoint", ["token", "calendar"])
@pytest.mark.parametrize(
    ("mode", "error"), [("close", httpx.RemoteProtocolError), ("reset", httpx.ReadError)]
)
async def test_the_connection_ends_without_an_answer(
    user: Connected, endpoint: str, mode: str, error: type[Exception]
) -> None:
    await user.control(**{endpoint: {"mode": mode, "times": 1}})
    call = user.refresh if endpoint == "token" else user.events

    with pytest.raises(error):
        await call()

    assert (await call()).status_code == 200


@pytest.mark.parametrize("endpoint", ["token", "calendar"])
async def test_an_html_page_and_half_a_json_arrive_as_whole_answers(
    user: Connected, endpoint: str
) -> None:
    call = user.refresh if endpoint == "token" else user.events
    whole = (await call()).content

    await user.control(**{endpoint: {"mode": "html"}})
    html = await call()
    await user.control(**{endpoint: {"mode": "truncated_json"}})
    truncated = await call()

    assert html.headers["content-type"].startswith("text/html")
    assert html.status_code == truncated.status_code == 200
    assert len(truncated.content) == len(whole) // 2
    with pytest.raises(json.JSONDecodeError):
        truncated.json()


@pytest.mark.parametrize("endpoint", ["token", "calendar"])
async def test_a_cut_body_is_shorter_than_announced(user: Connected, endpoint: str) -> None:
    await user.control(**{endpoint: {"mode": "cut_body"}})

    with pytest.raises(httpx.RemoteProtocolError, match="without sending complete message body"):
        await (user.refresh() if endpoint == "token" else user.events())


async def test_a_token_answer_may_have_wrong_types_no_token_or_less_scope(
    user: Connected,
) -> None:
    await user.control(token={"mode": "wrong_types"})
    assert (await user.refresh()).json()["access_token"] == 12345
    await user.control(token={"mode": "no_access_token"})
    assert (await user.refresh()).json().keys() == {"expires_in", "scope", "token_type"}
    await user.control(token={"mode": "reduced_scope"})
    assert (await user.refresh()).json()["scope"] == "openid"


async def test_a_lost_response_has_rotated_the_token_all_the_same(user: Connected) -> None:
    """The trap of strict rotation: asking again with the token at hand is reuse."""
    await user.control(rotation="strict", token={"mode": "lost_response", "times": 1})

    with pytest.raises(httpx.RemoteProtocolError):
        await user.refresh()
    asked_again = await user.refresh()

    assert asked_again.json()["error"] == "invalid_grant"
    verdict = await user.verdict()
    assert verdict["outcomes"] == {"lost_response": 1, "reuse": 1}
    assert verdict["revoked"] is True


async def test_grace_forgives_a_lost_response(user: Connected) -> None:
    await user.control(
        rotation="grace", grace_seconds=60, token={"mode": "lost_response", "times": 1}
    )

    with pytest.raises(httpx.RemoteProtocolError):
        await user.refresh()
    asked_again = await user.refresh()
    user.refresh_token = asked_again.json()["refresh_token"]

    assert (await user.refresh()).status_code == 200
    assert (await user.verdict())["outcomes"] == {"grace": 1, "lost_response": 1, "success": 1}


@pytest.mark.parametrize("endpoint", ["token", "calendar"])
async def test_a_hang_whose_client_gives_up_touches_nothing(
    user: Connected, endpoint: str
) -> None:
    hang = {"mode": "hang", "seconds": 3600, "times": 1}
    await user.control(**{"rotation": "strict", endpoint: hang})
    call = user.refresh if endpoint == "token" else user.events

    await user.abandon(call)

    assert (await call()).status_code == 200
    assert (await user.verdict())["reuse_seen"] == 0


async def test_a_hang_that_is_waited_for_ends_in_the_answer(user: Connected) -> None:
    await user.control(token={"mode": "hang", "seconds": 0.01})

    assert (await user.refresh()).status_code == 200


async def test_a_slow_drip_sends_its_headers_at_once_and_the_body_in_pieces(
    user: Connected,
) -> None:
    whole = (await user.events()).content
    await user.control(calendar={"mode": "slow_drip", "seconds": 0.5})
    request = user.http.build_request("GET", EVENTS, headers=user._headers)

    dripping = await user.http.send(request, stream=True)
    assert dripping.status_code == 200
    assert int(dripping.headers["content-length"]) == len(whole)
    pieces = [piece async for piece in dripping.aiter_raw()]

    assert b"".join(pieces) == whole
    assert len(pieces) > 1


async def test_a_huge_page_is_valid_json_of_the_size_asked_for(user: Connected) -> None:
    whole = (await user.events()).json()
    await user.control(calendar={"mode": "huge", "megabytes": 3})

    huge = await user.events()

    assert "content-length" not in huge.headers
    assert 3_000_000 < len(huge.content) < 3_100_000
    assert huge.json() == whole


async def test_a_client_may_leave_a_huge_page_and_come_back(user: Connected) -> None:
    await user.control(calendar={"mode": "huge", "megabytes": 1000, "times": 1})
    request = user.http.build_request("GET", EVENTS, headers=user._headers)

    flood = await user.http.send(request, stream=True)
    await anext(flood.aiter_raw())
    await flood.aclose()

    assert (await user.events()).status_code == 200


async def test_duplicate_ids_come_in_one_page(user: Connected) -> None:
    await user.control(calendar={"mode": "duplicate_ids"})

    ids = [item["id"] for item in (await user.events()).json()["items"]]

    assert len(ids) == 6
    assert len(set(ids)) == 3


async def test_endless_pages_are_always_new_and_never_last(user: Connected) -> None:
    await user.control(calendar={"mode": "endless_pages"})

    page, ids, page_tokens = (await user.events()).json(), [], []
    for _ in range(5):
        ids += [item["id"] for item in page["items"]]
        page_tokens.append(page["nextPageToken"])
        assert "nextSyncToken" not in page
        page = (await user.events(pageToken=page_tokens[-1])).json()

    assert len(set(ids)) == 15
    assert len(set(page_tokens)) == 5


async def test_wrong_types_keep_the_envelope(user: Connected) -> None:
    await user.control(calendar={"mode": "wrong_types"})

    page = (await user.events()).json()

    assert page["nextSyncToken"]
    assert [type(item["id"]) for item in page["items"]] == [int] * 3


async def test_latency_is_added_to_a_call_that_goes_on_without_its_client(
    user: Connected,
) -> None:
    """Unlike a hang, and as in life: the provider has the request and will rotate the token."""
    await user.control(rotation="strict", token_latency_ms=1000)

    await user.abandon(user.refresh)
    while (await user.verdict())["token_calls_in_flight"]:
        pass

    assert (await user.verdict())["refresh_token_generation"] == 2
