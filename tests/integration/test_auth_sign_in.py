"""Signing in and out: the service as it is wired in production, on a real PostgreSQL."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import asyncpg
import httpx
import pytest
from argon2 import PasswordHasher

from service.app import Service
from service.cache import Cache
from service.domains.auth.limit import SignInLimit
from service.domains.auth.operations import SignIn
from service.domains.auth.passwords import Passwords
from service.security import Security
from service.security.sessions import Cookies, session_id
from tests.signals import Samples, watched_transactions

PASSWORD = "correct horse battery"
CHEAP = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
TOKEN, CSRF, LOGOUT = "/api/v1/auth/token", "/api/v1/auth/csrf", "/api/v1/auth/logout"
PROFILE = "/api/v1/profile"
NEW_PROFILE = {"display_name": "Ada"}


@dataclass
class Account:
    id: int
    email: str


@dataclass
class World:
    """One service process, a client of it, and the database behind its back."""

    service: Service
    client: httpx.AsyncClient
    owner: "asyncpg.Connection[asyncpg.Record]"

    async def account(self, email: str | None = None) -> Account:
        address = email or f"{uuid4().hex}@example.com"
        account_id = await self.owner.fetchval(
            "INSERT INTO accounts (email, password_hash) VALUES ($1, $2) RETURNING id",
            address,
            CHEAP.hash(PASSWORD),
        )
        return Account(account_id, address)

    async def sign_in(
        self, email: str, password: str = PASSWORD, **headers: str
    ) -> httpx.Response:
        form = {"username": email, "password": password}
        return await self.client.post(TOKEN, data=form, headers=headers)

    @property
    def origin(self) -> str:
        return self.service.config.public_origin

    async def csrf_token(self) -> str:
        answer = await self.client.get(CSRF)
        assert answer.status_code == 200, answer.text
        token: str = answer.json()["csrf_token"]
        return token

    async def sessions_of(self, account: Account) -> list[bytes]:
        rows = await self.owner.fetch("SELECT id FROM sessions WHERE account_id = $1", account.id)
        return [row["id"] for row in rows]


@pytest.fixture
def world(
    service: Service,
    client: httpx.AsyncClient,
    owner: "asyncpg.Connection[asyncpg.Record]",
) -> World:
    return World(service, client, owner)


def problem(answer: httpx.Response) -> tuple[int, str]:
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    return answer.status_code, answer.json()["code"]


async def test_the_right_password_gives_a_token_and_a_session(world: World) -> None:
    account = await world.account()

    answer = await world.sign_in(account.email)

    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    body = answer.json()
    assert (body["token_type"], body["expires_in"]) == ("Bearer", 3600)
    name, _, rest = answer.headers["set-cookie"].partition("=")
    secret, _, attributes = rest.partition("; ")
    assert name == "session"
    assert attributes == "Max-Age=28800; Path=/; SameSite=Lax; HttpOnly"
    assert await world.sessions_of(account) == [session_id(secret)]


async def test_the_token_names_its_account(world: World) -> None:
    account = await world.account()
    token = (await world.sign_in(account.email)).json()["access_token"]
    world.client.cookies.clear()
    headers = {"Authorization": f"Bearer {token}"}

    answer = await world.client.put(PROFILE, json=NEW_PROFILE, headers=headers)

    assert answer.status_code == 200, answer.text
    assert answer.json()["account_id"] == account.id


@pytest.mark.parametrize(
    ("stored", "typed"),
    [
        ("ada.{}@example.com", "ADA.{}@Example.COM"),
        ("Ada.{}@example.com", "ada.{}@example.com"),
        ("jos\u00e9.{}@example.com", "jose\u0301.{}@example.com"),
        ("\u00c9lan.{}@example.com", "\u00e9lan.{}@example.com"),
    ],
)
async def test_the_address_may_be_written_otherwise(world: World, stored: str, typed: str) -> None:
    unique = uuid4().hex
    await world.account(stored.format(unique))

    assert (await world.sign_in(typed.format(unique))).status_code == 200


async def test_a_wrong_password_and_an_unknown_address_get_the_same_answer(world: World) -> None:
    account = await world.account()

    answers = [
        await world.sign_in(account.email, "wrong"),
        await world.sign_in(f"{uuid4().hex}@example.com"),
    ]

    for answer in answers:
        assert problem(answer) == (401, "login_failed")
        assert answer.headers["www-authenticate"] == "Bearer"
        assert "set-cookie" not in answer.headers
    varying = {"instance", "request_id", "trace_id"}
    one, other = (
        {name: value for name, value in answer.json().items() if name not in varying}
        for answer in answers
    )
    assert one == other
    assert await world.sessions_of(account) == []


async def test_too_many_failures_are_limited_and_successes_do_not_count(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    limited = SignIn(
        world.service.database,
        Passwords(),
        SignInLimit(
            Cache(""), of_address=2, of_account=9, clock=lambda: 1000.0, hashed=lambda name: name
        ),
        world.service.config,
    )
    monkeypatch.setitem(world.service.app.state.provided, SignIn, limited)
    account = await world.account()
    for _ in range(3):
        assert (await world.sign_in(account.email)).status_code == 200
    for _ in range(2):
        assert problem(await world.sign_in(account.email, "wrong")) == (401, "login_failed")

    with watched_transactions(world.service.database.engine) as transactions:
        answer = await world.sign_in(account.email)

    assert problem(answer) == (429, "rate_limited")
    assert answer.headers["retry-after"] == "60"
    assert transactions == []
    limited.close()


async def test_no_connection_is_held_while_the_password_is_checked(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    account = await world.account()
    held: list[int] = []
    match = Passwords.match

    async def noting(self: Passwords, password: str, password_hash: str | None) -> bool:
        held.append(world.service.database.pool.checkedout())
        return await match(self, password, password_hash)

    monkeypatch.setattr(Passwords, "match", noting)

    assert (await world.sign_in(account.email)).status_code == 200
    assert held == [0]


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        ({"json": {"username": "a@b", "password": "x"}}, (415, "unsupported_media_type")),
        ({"data": {"username": "a@b"}, "files": {"f": b"x"}}, (415, "unsupported_media_type")),
        ({"data": {"username": "a@b"}}, (422, "validation_failed")),
        ({"data": {"username": "a@b", "password": ""}}, (422, "validation_failed")),
        ({"data": {"username": "zz\x00z@b", "password": "x"}}, (422, "validation_failed")),
        ({"data": {"username": "a@b", "password": "zz\x00z"}}, (422, "validation_failed")),
        ({"data": {"username": "z" * 300, "password": "x"}}, (422, "validation_failed")),
        ({"data": {"username": "a@b", "password": "z" * 1025}}, (422, "validation_failed")),
        (
            {"data": {"username": "a@b", "password": "x", "grant_type": "implicit"}},
            (422, "validation_failed"),
        ),
    ],
)
async def test_a_form_that_does_not_fit_is_refused_without_an_echo(
    world: World, request_: Mapping[str, Any], expected: tuple[int, str]
) -> None:
    answer = await world.client.post(TOKEN, **request_)

    assert problem(answer) == expected
    assert "zz" not in answer.text
    assert "implicit" not in answer.text


async def test_bytes_that_are_no_text_are_a_wrong_password_at_worst(world: World) -> None:
    form = b"username=%ED%A0%80%FF@b&password=%ED%A0%80%FF"
    content_type = {"Content-Type": "application/x-www-form-urlencoded"}

    answer = await world.client.post(TOKEN, content=form, headers=content_type)

    assert problem(answer) == (401, "login_failed")


async def test_fields_of_the_standard_that_are_not_used_are_ignored(world: World) -> None:
    account = await world.account()
    form = {
        "grant_type": "password",
        "username": account.email,
        "password": PASSWORD,
        "scope": "",
        "client_id": "swagger",
    }

    assert (await world.client.post(TOKEN, data=form)).status_code == 200


@pytest.mark.parametrize(
    "headers", [{"Sec-Fetch-Site": "cross-site"}, {"Origin": "http://evil.example"}]
)
async def test_another_site_cannot_sign_its_visitor_in(
    world: World, headers: dict[str, str]
) -> None:
    account = await world.account()

    answer = await world.sign_in(account.email, **headers)

    assert problem(answer) == (403, "csrf_failed")
    assert "set-cookie" not in answer.headers


async def test_a_session_changes_things_with_its_csrf_token(world: World) -> None:
    account = await world.account()
    await world.sign_in(account.email)
    headers = {"X-CSRF-Token": await world.csrf_token(), "Origin": world.origin}

    answer = await world.client.put(PROFILE, json=NEW_PROFILE, headers=headers)

    assert answer.status_code == 200, answer.text
    assert answer.json()["account_id"] == account.id


async def test_without_it_the_database_is_not_even_asked(world: World) -> None:
    account = await world.account()
    await world.sign_in(account.email)
    await world.csrf_token()

    with watched_transactions(world.service.database.engine) as transactions:
        answers = [
            await world.client.put(PROFILE, json=NEW_PROFILE, headers=headers)
            for headers in ({"Origin": world.origin}, {"X-CSRF-Token": "x"}, {})
        ]

    assert [problem(answer) for answer in answers] == [(403, "csrf_failed")] * 3
    assert transactions == []


async def test_a_csrf_token_of_one_session_is_no_good_in_another(world: World) -> None:
    account = await world.account()
    await world.sign_in(account.email)
    stale = await world.csrf_token()
    await world.sign_in(account.email)
    before = Samples()

    headers = {"X-CSRF-Token": stale, "Origin": world.origin}
    answer = await world.client.put(PROFILE, json=NEW_PROFILE, headers=headers)

    assert problem(answer) == (403, "csrf_failed")
    assert before.grown("csrf_rejected_total", reason="session") == 1


async def test_signing_out_ends_this_session_and_no_other(world: World) -> None:
    account = await world.account()
    await world.sign_in(account.email)
    (first,) = await world.sessions_of(account)
    await world.sign_in(account.email)
    secret = world.client.cookies["session"]
    headers = {"X-CSRF-Token": await world.csrf_token(), "Origin": world.origin}

    answer = await world.client.post(LOGOUT, headers=headers)

    assert answer.status_code == 204
    assert dict(world.client.cookies) == {}
    assert await world.sessions_of(account) == [first]
    again = await world.client.get(PROFILE, headers={"Cookie": f"session={secret}"})
    assert problem(again) == (401, "credentials_missing")


async def test_signing_out_needs_the_csrf_token_too(world: World) -> None:
    account = await world.account()
    await world.sign_in(account.email)

    assert problem(await world.client.post(LOGOUT)) == (403, "csrf_failed")
    assert len(await world.sessions_of(account)) == 1


async def test_a_session_ends_with_its_time_and_is_cleared_at_the_next_sign_in(
    world: World,
) -> None:
    account = await world.account()
    await world.sign_in(account.email)
    (old,) = await world.sessions_of(account)
    await world.owner.execute("UPDATE sessions SET expires_at = now() WHERE id = $1", old)
    before = Samples()

    answer = await world.client.get(PROFILE)

    assert problem(answer) == (401, "credentials_missing")
    assert answer.headers["www-authenticate"] == "Bearer"
    labels = {"token_format": "session", "reason": "expired"}
    assert before.grown("auth_tokens_rejected_total", **labels) == 1
    await world.sign_in(account.email)
    (new,) = await world.sessions_of(account)
    assert new != old


async def test_a_token_alone_has_no_session_to_protect_or_to_end(world: World) -> None:
    account = await world.account()
    token = (await world.sign_in(account.email)).json()["access_token"]
    world.client.cookies.clear()
    headers = {"Authorization": f"Bearer {token}"}

    assert problem(await world.client.get(CSRF, headers=headers)) == (401, "credentials_missing")
    assert problem(await world.client.post(LOGOUT, headers=headers)) == (
        401,
        "credentials_missing",
    )


async def test_over_tls_cookies_are_bound_to_the_host(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    over_tls = dataclasses.replace(world.service.security, cookies=Cookies(True, 60))
    monkeypatch.setitem(world.service.app.state.provided, Security, over_tls)
    account = await world.account()

    answer = await world.sign_in(account.email)

    assert answer.headers["set-cookie"].startswith("__Host-session=")
    assert answer.headers["set-cookie"].endswith("; Secure")
