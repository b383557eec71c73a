"""The simulated provider over real HTTP: Google's wire format, the control endpoints, the judge."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from stack.provider.app import Settings, serving

EVENTS = "/calendar/v3/calendars/primary/events"
CLIENT = {"client_id": "firedrill-local-client", "client_secret": "firedrill-local-secret"}


@pytest.fixture(scope="module")
async def http() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(limits=httpx.Limits(max_connections=None), timeout=20) as client:
        yield client


@pytest.fixture
async def google(http: httpx.AsyncClient) -> AsyncIterator[httpx.AsyncClient]:
    """A simulator that nobody has called yet: the judge's totals are part of what is tested."""
    async with serving(Settings()) as url:
        http.base_url = httpx.URL(url)
        yield http


async def mint(google: httpx.AsyncClient, **wanted: object) -> dict[str, Any]:
    answer = await google.post("/_grants", json=wanted)
    assert answer.status_code == 201, answer.text
    minted: dict[str, Any] = answer.json()
    return minted


async def refresh(google: httpx.AsyncClient, token: str) -> httpx.Response:
    form = {**CLIENT, "grant_type": "refresh_token", "refresh_token": token}
    return await google.post("/token", data=form)


async def events(google: httpx.AsyncClient, token: str, **query: str) -> httpx.Response:
    headers = {"Authorization": f"Bearer {token}"}
    return await google.get(EVENTS, headers=headers, params=query)


async def test_a_refresh_answers_as_google_does(google: httpx.AsyncClient) -> None:
    grant = await mint(google)

    answer = await refresh(google, grant["refresh_token"])

    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json; charset=UTF-8"
    assert "no-store" in answer.headers["cache-control"]
    assert answer.headers["pragma"] == "no-cache"
    assert answer.json() == {
        "access_token": answer.json()["access_token"],
        "expires_in": 3600,
        "scope": "https://www.googleapis.com/auth/calendar.readonly",
        "token_type": "Bearer",
    }
    assert (await events(google, answer.json()["access_token"])).status_code == 200


async def test_a_code_becomes_tokens_and_rotation_sends_the_refresh_token(
    google: httpx.AsyncClient,
) -> None:
    await google.post("/_control", json={"rotation": "strict", "expires_in": 7})
    grant = await mint(google, user="ann", authorization_code=True)
    assert "refresh_token" not in grant
    form = {
        **CLIENT,
        "grant_type": "authorization_code",
        "code": grant["authorization_code"],
        "redirect_uri": "http://127.0.0.1:8000/connected",
    }

    first = (await google.post("/token", data=form)).json()
    second = (await refresh(google, first["refresh_token"])).json()

    assert first["refresh_token"].startswith("rt-")
    assert second["refresh_token"] not in {None, first["refresh_token"]}
    assert (first["expires_in"], second["expires_in"]) == (7, 7)
    replayed = await google.post("/token", data=form)
    assert (replayed.status_code, replayed.json()["error"]) == (400, "invalid_grant")


@pytest.mark.parametrize(
    ("changes", "status", "error"),
    [
        ({"client_id": ""}, 400, "invalid_request"),
        ({"client_id": "other"}, 401, "invalid_client"),
        ({"client_secret": ""}, 400, "invalid_request"),
        ({"client_secret": "wrong é"}, 401, "invalid_client"),
        ({"grant_type": ""}, 400, "unsupported_grant_type"),
        ({"grant_type": "password"}, 400, "unsupported_grant_type"),
        ({"refresh_token": ""}, 400, "invalid_request"),
        ({"refresh_token": "rt-CANARY"}, 400, "invalid_grant"),
        ({"grant_type": "authorization_code"}, 400, "invalid_request"),
        ({"grant_type": "authorization_code", "code": "4/0A"}, 400, "invalid_request"),
    ],
)
async def test_what_is_wrong_with_a_token_request_is_said_as_google_says_it(
    google: httpx.AsyncClient, changes: dict[str, str], status: int, error: str
) -> None:
    token = (await mint(google))["refresh_token"]
    form = {**CLIENT, "grant_type": "refresh_token", "refresh_token": token, **changes}

    answer = await google.post("/token", data=form)

    assert (answer.status_code, answer.json()["error"]) == (status, error)
    assert answer.json().keys() == {"error", "error_description"}


async def test_a_token_request_in_json_is_no_token_request(google: httpx.AsyncClient) -> None:
    answer = await google.post("/token", json={**CLIENT, "grant_type": "refresh_token"})

    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")


async def test_reuse_under_strict_rotation_revokes_the_family(google: httpx.AsyncClient) -> None:
    await google.post("/_control", json={"rotation": "strict"})
    grant = await mint(google)
    newest = (await refresh(google, grant["refresh_token"])).json()

    reused = await refresh(google, grant["refresh_token"])
    after = await refresh(google, newest["refresh_token"])

    for refused in (reused, after):
        assert refused.status_code == 400
        assert refused.json() == {
            "error": "invalid_grant",
            "error_description": "Token has been expired or revoked.",
        }
    assert (await events(google, newest["access_token"])).status_code == 401
    verdict = (await google.get("/_judge")).json()
    assert verdict["totals"]["reuse_seen"] == verdict["totals"]["revoked_families"] == 1
    assert verdict["grants"][grant["grant"]]["outcomes"] == {
        "invalid_grant": 1,
        "reuse": 1,
        "success": 1,
    }


async def test_revoke_ends_the_grant_and_a_second_time_is_an_error(
    google: httpx.AsyncClient,
) -> None:
    grant = await mint(google)

    revoked = await google.post("/revoke", data={"token": grant["access_token"]})
    again = await google.post("/revoke", data={"token": grant["refresh_token"]})

    assert (revoked.status_code, revoked.json()) == (200, {})
    assert (again.status_code, again.json()["error"]) == (400, "invalid_token")
    assert (await refresh(google, grant["refresh_token"])).json()["error"] == "invalid_grant"


@pytest.mark.parametrize(
    ("header", "reason"),
    [({}, "required"), ({"Authorization": "Bearer at-g1-1-0"}, "authError")],
)
async def test_a_401_of_the_calendar_is_googles_with_a_challenge(
    google: httpx.AsyncClient, header: dict[str, str], reason: str
) -> None:
    answer = await google.get(EVENTS, headers=header)

    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["status"]) == (401, 401, "UNAUTHENTICATED")
    assert error["errors"][0]["reason"] == reason
    assert answer.headers["www-authenticate"].startswith("Bearer realm=")


async def test_an_expired_access_token_is_a_401_until_it_is_refreshed(
    google: httpx.AsyncClient,
) -> None:
    grant, other = await mint(google), await mint(google)

    expired = await google.post("/_expire", json={"grant": grant["grant"]})

    assert expired.json() == {"expired": 1}
    assert (await events(google, grant["access_token"])).status_code == 401
    assert (await events(google, other["access_token"])).status_code == 200
    fresh = (await refresh(google, grant["refresh_token"])).json()
    assert (await events(google, fresh["access_token"])).status_code == 200
    assert (await google.post("/_expire")).json() == {"expired": 2}


async def test_a_grant_without_a_calendar_scope_is_a_403_that_says_so(
    google: httpx.AsyncClient,
) -> None:
    grant = await mint(google, scopes=["openid"])

    answer = await events(google, grant["access_token"])

    assert answer.status_code == 403
    assert answer.json()["error"]["errors"][0]["reason"] == "insufficientPermissions"
    assert "insufficient_scope" in answer.headers["www-authenticate"]


async def test_nobody_reads_the_calendar_of_another(google: httpx.AsyncClient) -> None:
    ann, _bob = await mint(google, user="ann"), await mint(google, user="bob")
    headers = {"Authorization": f"Bearer {ann['access_token']}"}

    own = await google.get("/calendar/v3/calendars/ann/events", headers=headers)
    other = await google.get("/calendar/v3/calendars/bob/events", headers=headers)

    assert own.status_code == 200
    assert (other.status_code, other.json()["error"]["errors"][0]["reason"]) == (404, "notFound")


async def test_pages_and_sync_tokens_travel_through_urls(google: httpx.AsyncClient) -> None:
    grant = await mint(google, events=5)
    token = grant["access_token"]

    first = (await events(google, token, maxResults="3", singleEvents="true")).json()
    last = (await events(google, token, maxResults="3", pageToken=first["nextPageToken"])).json()
    wanted = {"grant": grant["grant"], "create": 1, "update": 2, "delete": 1}
    changed = (await google.post("/_events", json=wanted)).json()
    delta = (await events(google, token, syncToken=last["nextSyncToken"])).json()

    assert [len(first["items"]), len(last["items"])] == [3, 2]
    assert "nextSyncToken" not in first
    found = {item["id"]: item["status"] for item in delta["items"]}
    assert found.keys() == {*changed["created"], *changed["updated"], *changed["deleted"]}
    assert [i for i, status in found.items() if status == "cancelled"] == changed["deleted"]


async def test_a_user_who_connects_again_finds_the_same_calendar(
    google: httpx.AsyncClient,
) -> None:
    first = await mint(google, user="ann", events=3)
    again = await mint(google, user="ann", events=9)

    listed = [await events(google, grant["access_token"]) for grant in (first, again)]

    assert first["grant"] != again["grant"]
    assert listed[0].json() == listed[1].json()


async def test_an_invalidated_sync_token_is_a_410_that_asks_for_a_full_sync(
    google: httpx.AsyncClient,
) -> None:
    grant = await mint(google)
    sync_token = (await events(google, grant["access_token"])).json()["nextSyncToken"]
    await google.post("/_events", json={"grant": grant["grant"], "invalidate_sync_tokens": True})

    answer = await events(google, grant["access_token"], syncToken=sync_token)

    assert answer.status_code == 410
    assert answer.json()["error"]["errors"] == [
        {
            "message": "Sync token is no longer valid, a full sync is required.",
            "domain": "calendar",
            "reason": "fullSyncRequired",
            "locationType": "parameter",
            "location": "syncToken",
        }
    ]


async def test_the_judge_sees_calls_that_overlap(google: httpx.AsyncClient) -> None:
    """Three calls of one grant and one of another are held together until all have arrived."""
    busy, calm = await mint(google), await mint(google)
    await google.post("/_control", json={"token": {"mode": "hang", "seconds": 3600}})
    calls = [
        asyncio.create_task(refresh(google, token))
        for token in [busy["refresh_token"]] * 3 + [calm["refresh_token"]]
    ]
    while (await google.get("/_judge")).json()["totals"]["token_calls_in_flight"] < len(calls):
        pass

    for call in calls:
        call.cancel()
    await asyncio.gather(*calls, return_exceptions=True)
    while (await google.get("/_judge")).json()["totals"]["token_calls_in_flight"]:
        pass

    verdict = (await google.get("/_judge")).json()
    assert verdict["totals"]["most_concurrent_token_calls_per_grant"] == 3
    assert verdict["grants"][busy["grant"]]["token_calls"] == 3
    assert verdict["grants"][busy["grant"]]["outcomes"] == {"hang": 3}
    assert verdict["grants"][calm["grant"]]["most_concurrent_token_calls"] == 1
    await google.post("/_judge/reset")
    assert (await google.get("/_judge")).json()["totals"]["token_calls"] == 0


@pytest.mark.parametrize(
    ("path", "body", "named"),
    [
        ("/_control", '{"tokn": {}}', "tokn"),
        ("/_control", '{"token": {"mode": "explode"}}', "token.mode"),
        ("/_control", '{"grant": "g99"}', "grant"),
        ("/_control", "{", "body"),
        ("/_control", "[]", "body"),
        ("/_grants", '{"events": -1}', "events"),
        ("/_grants", '{"redirect_uri": "http://localhost/"}', "redirect_uri"),
        ("/_events", "{}", "grant"),
        ("/_events", '{"grant": "g1", "update": true}', "update"),
        ("/_expire", '{"grant": "g1/../g2"}', "grant"),
    ],
)
async def test_a_bad_control_request_is_a_400_that_names_the_field_and_what_is_allowed(
    google: httpx.AsyncClient, path: str, body: str, named: str
) -> None:
    answer = await google.post(path, content=body)

    assert answer.status_code == 400
    assert answer.json()["problems"][0].startswith(f"{named}: ")
    assert "grant" in answer.json()["allowed"] or path == "/_grants"


async def test_control_shows_what_is_set_and_what_could_be(google: httpx.AsyncClient) -> None:
    grant = await mint(google)
    setting = {"grant": grant["grant"], "token": {"mode": "error_503", "times": 2}}
    await google.post("/_control", json=setting)
    await google.post("/_control", json={"expires_in": 1})
    await refresh(google, grant["refresh_token"])

    shown = (await google.get("/_control")).json()

    assert shown["all"] == {"expires_in": 1}
    assert shown["grants"] == {grant["grant"]: {"token": {"mode": "error_503", "times": 1}}}
    assert "lost_response" in shown["allowed"]["token"]["mode"]
    assert shown["allowed"]["rotation"] == ["none", "strict", "grace"]
    assert (await google.post("/_control", json={"reset": True})).json() == {
        "all": {},
        "grants": {},
    }


async def test_metrics_count_answers_and_hang_ups_by_mode(google: httpx.AsyncClient) -> None:
    grant = await mint(google)
    await refresh(google, grant["refresh_token"])
    await google.post("/_control", json={"token": {"mode": "close", "times": 1}})
    with pytest.raises(httpx.RemoteProtocolError):
        await refresh(google, grant["refresh_token"])
    await events(google, "at-unknown")

    page = await google.get("/metrics")

    families = text_string_to_metric_families(page.text)
    counted = {
        tuple(sample.labels[name] for name in ("endpoint", "status", "mode")): sample.value
        for family in families
        for sample in family.samples
        if sample.name == "provider_requests_total"
    }
    assert counted == {
        ("token", "200", "normal"): 1.0,
        ("token", "none", "close"): 1.0,
        ("events", "401", "normal"): 1.0,
        ("events", "200", "normal"): 0.0,
        ("revoke", "200", "normal"): 0.0,
    }
    assert 'provider_requests_in_flight{endpoint="token"} 0.0' in page.text
    assert grant["refresh_token"] not in page.text
    assert (await google.get("/healthz")).text == "ok\n"
