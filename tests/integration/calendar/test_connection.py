import asyncio

import asyncpg
import httpx
import pytest

from service.app import Service
from service.domains.calendar import operations
from stack.waiting import until_true
from tests.integration.calendar.conftest import Connect, Connected, Google, Owner
from tests.integration.calendar.test_sync import stored_ids
from tests.integration.conftest import Someone

CONNECTION = "/api/v1/calendar/connection"
SYNC = "/api/v1/calendar/sync/auto"


async def put_code(client: httpx.AsyncClient, who: Someone, code: str) -> httpx.Response:
    return await client.put(CONNECTION, json={"code": code}, headers=who.headers)


async def test_without_a_grant_the_connection_says_where_to_get_one(
    client: httpx.AsyncClient, someone: Someone
) -> None:
    answer = await client.get(CONNECTION, headers=someone.headers)

    connection = answer.json()
    assert connection["status"] == "not_connected"
    assert "access_type=offline" in connection["reauth_url"]
    assert connection["scope"] is None


async def test_a_code_connects_a_calendar_that_can_then_be_synchronised(
    client: httpx.AsyncClient, someone: Someone, google: Google
) -> None:
    code = (await google.mint(authorization_code=True))["authorization_code"]

    answer = await put_code(client, someone, code)

    assert answer.status_code == 200, answer.text
    assert answer.json()["status"] == "ok"
    assert answer.json()["reauth_url"] is None
    assert (await client.get(CONNECTION, headers=someone.headers)).json() == answer.json()
    synced = await client.post(SYNC, headers=someone.headers)
    assert synced.json()["created"] == 25


async def test_a_code_works_once(
    client: httpx.AsyncClient, someone: Someone, google: Google
) -> None:
    code = (await google.mint(authorization_code=True))["authorization_code"]
    await put_code(client, someone, code)

    answer = await put_code(client, someone, code)

    assert (answer.status_code, answer.json()["code"]) == (409, "calendar_reauth_required")
    assert answer.json()["reason"] == "code_refused"
    assert "reauth_url" in answer.json()
    kept = await client.get(CONNECTION, headers=someone.headers)
    assert kept.json()["status"] == "ok", "the connection that works is kept"


async def test_a_consent_without_the_calendar_is_refused(
    client: httpx.AsyncClient, someone: Someone, google: Google
) -> None:
    minted = await google.mint(authorization_code=True, scopes=["openid"])

    answer = await put_code(client, someone, minted["authorization_code"])

    assert (answer.status_code, answer.json()["code"]) == (409, "calendar_scope_missing")


async def test_a_refresh_that_grants_less_shows_in_the_connection_and_in_the_gauge(
    client: httpx.AsyncClient, service: Service, expired: Connected, google: Google, owner: Owner
) -> None:
    await google.behave(grant=expired.grant, token={"mode": "reduced_scope"})

    synced = await client.post(SYNC, headers=expired.headers)

    connection = (await client.get(CONNECTION, headers=expired.headers)).json()
    assert (synced.status_code, synced.json()["code"]) == (409, "calendar_scope_missing")
    assert (connection["status"], connection["scope"]) == ("scope_missing", "openid")
    assert connection["reauth_url"] == synced.json()["reauth_url"]
    await owner.execute("DELETE FROM oauth_grants WHERE account_id <> $1", expired.account_id)
    counts = await operations.count_grants(service.database)
    assert {status for status, count in counts.items() if count} == {"scope_missing"}


async def test_a_permission_that_the_calendar_misses_shows_until_a_refresh_brings_it_back(
    client: httpx.AsyncClient, connected: Connected, google: Google, owner: Owner
) -> None:
    await google.behave(grant=connected.grant, calendar={"mode": "insufficient_permissions"})

    refused = await client.post(SYNC, headers=connected.headers)

    connection = (await client.get(CONNECTION, headers=connected.headers)).json()
    assert (refused.status_code, refused.json()["code"]) == (409, "calendar_scope_missing")
    assert connection["status"] == "scope_missing"
    assert connection["reauth_url"] == refused.json()["reauth_url"]
    await google.behave(grant=connected.grant, calendar={"mode": "normal"})
    await owner.execute(
        "UPDATE oauth_grants SET expires_at = now() WHERE account_id = $1", connected.account_id
    )
    assert (await client.post(SYNC, headers=connected.headers)).status_code == 200
    mended = (await client.get(CONNECTION, headers=connected.headers)).json()
    assert (mended["status"], mended["reauth_url"]) == ("ok", None)


@pytest.mark.parametrize(
    ("fields", "without"),
    [
        ({"scope": ""}, []),
        ({}, ["scope"]),
        ({"scope": "", "refresh_token": "", "expires_in": "3599"}, []),
        ({}, ["expires_in"]),
    ],
    ids=str,
)
async def test_what_a_refresh_leaves_out_is_as_before(
    client: httpx.AsyncClient,
    expired: Connected,
    google: Google,
    fields: dict[str, object],
    without: list[str],
) -> None:
    altered = {"mode": "altered", "fields": fields, "without": without}
    await google.behave(grant=expired.grant, token=altered)

    first = await client.post(SYNC, headers=expired.headers)
    second = await client.post(SYNC, headers=expired.headers)

    assert [first.status_code, second.status_code] == [200, 200]
    assert (await google.verdict(expired.grant))["token_calls"] == 1


async def test_a_code_whose_answer_names_no_scope_has_what_was_asked_for(
    client: httpx.AsyncClient, someone: Someone, google: Google
) -> None:
    code = (await google.mint(authorization_code=True))["authorization_code"]
    await google.behave(token={"mode": "altered", "without": ["scope"]})

    answer = await put_code(client, someone, code)

    assert answer.status_code == 200, answer.text
    assert answer.json()["status"] == "ok"
    assert (await client.post(SYNC, headers=someone.headers)).json()["created"] == 25


async def test_connecting_again_mends_a_dead_grant_and_starts_over(
    client: httpx.AsyncClient, connected: Connected, google: Google, owner: Owner
) -> None:
    await client.post(SYNC, headers=connected.headers)
    await owner.execute(
        "UPDATE oauth_grants SET status = 'reauth_required', last_error = 'revoked'"
        " WHERE account_id = $1",
        connected.account_id,
    )
    dead = await client.post(SYNC, headers=connected.headers)
    code = (await google.mint(authorization_code=True, events=7))["authorization_code"]

    answer = await put_code(client, connected.someone, code)
    synced = await client.post(SYNC, headers=connected.headers)

    assert dead.status_code == 409
    assert answer.json()["status"] == "ok"
    # Another calendar: what was in the old one goes.
    assert (synced.json()["created"], synced.json()["deleted"]) == (7, 25)


async def test_a_sync_of_the_calendar_before_stores_nothing_once_another_is_connected(
    client: httpx.AsyncClient, connected: Connected, google: Google
) -> None:
    code = (await google.mint(authorization_code=True, events=7))["authorization_code"]
    await google.behave(grant=connected.grant, calendar_latency_ms=2500)
    before = asyncio.create_task(client.post(SYNC, headers=connected.headers))
    await until_true(lambda: _is_called(google, connected), "a sync that waits for its first page")

    await put_code(client, connected.someone, code)
    assert not before.done()
    late = await before
    synced = await client.post(SYNC, headers=connected.headers)

    assert (late.status_code, late.json()["created"]) == (200, 0)
    assert synced.json()["created"] == 7
    assert len(await stored_ids(client, connected)) == 7


async def _is_called(google: Google, who: Connected) -> bool:
    return bool((await google.verdict(who.grant))["calendar_calls"])


@pytest.mark.parametrize("body", [{}, {"code": ""}, {"code": "x" * 513}, {"code": 1}])
async def test_a_body_that_does_not_fit_is_a_422(
    client: httpx.AsyncClient, someone: Someone, body: dict[str, object]
) -> None:
    answer = await client.put(CONNECTION, json=body, headers=someone.headers)

    assert (answer.status_code, answer.json()["code"]) == (422, "validation_failed")


async def test_tokens_are_stored_encrypted_and_bound_to_their_account(
    client: httpx.AsyncClient, connect: Connect, owner: Owner
) -> None:
    mine, theirs = await connect(), await connect()
    rows: list[asyncpg.Record] = await owner.fetch(
        "SELECT access_token_enc, refresh_token_enc FROM oauth_grants WHERE account_id = $1",
        mine.account_id,
    )
    stored = b"".join(rows[0].values())
    await owner.execute(
        "UPDATE oauth_grants SET access_token_enc = $1 WHERE account_id = $2",
        rows[0]["access_token_enc"],
        theirs.account_id,
    )

    answer = await client.post(SYNC, headers=theirs.headers)

    assert mine.refresh_token.encode() not in stored
    assert b"at-" not in stored
    assert (answer.status_code, answer.json()["code"]) == (500, "provider_misconfigured")
    assert (await client.post(SYNC, headers=mine.headers)).status_code == 200


async def test_grants_are_counted_by_status(
    service: Service, connect: Connect, owner: Owner
) -> None:
    await owner.execute("DELETE FROM oauth_grants")
    for seconds in (3600, 3600, 60, -1):
        await connect(expires_in_seconds=seconds)
    for status in ("reauth_required", "misconfigured"):
        grant = await connect()
        await owner.execute(
            "UPDATE oauth_grants SET status = $1::text::grant_status WHERE account_id = $2",
            status,
            grant.account_id,
        )

    for scope in ("", "openid email"):
        grant = await connect()
        await owner.execute(
            "UPDATE oauth_grants SET scope = $1 WHERE account_id = $2", scope, grant.account_id
        )

    counts = await operations.count_grants(service.database)

    assert counts == {
        "ok": 2,
        "expiring": 2,
        "scope_missing": 2,
        "reauth_required": 1,
        "misconfigured": 1,
    }
