"""The accounts of a firedrill.toml: how they sign in, and what they send then."""

import json
from itertools import cycle

import pytest

from firedrill_kit.config import parse
from loadtests.traffic.callers import Callers, sign_in
from loadtests.traffic.wire import ask
from loadtests.world.description import Description, RefusedError, Release
from tests.integration.answering import Heard, answering

BASE = """
[service]
name = "shop"
"""
FORM = """
[client]
sign_in = "POST /login"
form = {username = "$USER", password = "$PASSWORD"}
token = "data.token"
[load]
accounts = 3
credentials = {username = "load{n}@example.com"}
[load.mix]
"GET /me" = 1
"POST /login" = {rate = 1, caller = "signing_in"}
"POST /items" = {rate = 1, json = {title = "$TITLE"}}
"GET /ping" = {rate = 1, caller = "anybody"}
"""
JSON = """
[client]
sign_in = "POST /login"
json = {name = "$USER", password = "$PASSWORD"}
headers = {X-Token = "{token}"}
token = "data.token"
"""
KEY = """
[client]
headers = {X-Api-Key = "$KEY"}
"""
SECRETS = {"USER": "ada", "PASSWORD": "s3cret", "TITLE": "a pan", "KEY": "k"}


def described(text: str) -> Description:
    return Description(parse(BASE + text), SECRETS)


async def signed_in(
    text: str, status: int = 200, body: str = '{"data": {"token": "t"}}'
) -> tuple[list[dict[str, str]], list[Heard]]:
    """Returns the headers of the accounts, and what the service was sent."""
    async with answering(status, body) as (url, heard):
        found = await sign_in(described(text), api_url=url)
    return [dict(one) for one in found], heard


async def test_every_account_signs_in_by_a_form() -> None:
    headers, heard = await signed_in(FORM)

    assert headers == [{"Authorization": "Bearer t"}] * 3
    assert {one.line for one in heard} == {"POST /login HTTP/1.1"}
    assert {one.headers["content-type"] for one in heard} == {"application/x-www-form-urlencoded"}
    assert sorted(one.body for one in heard) == [
        f"username=load{number}%40example.com&password=s3cret" for number in (1, 2, 3)
    ]


async def test_an_account_signs_in_by_json() -> None:
    headers, (heard,) = await signed_in(JSON)

    assert headers == [{"X-Token": "t"}]
    assert json.loads(heard.body) == {"name": "ada", "password": "s3cret"}


@pytest.mark.parametrize(("text", "headers"), [(KEY, [{"X-Api-Key": "k"}]), ("", [])])
async def test_a_fixed_key_and_nobody_ask_for_no_token(
    text: str, headers: list[dict[str, str]]
) -> None:
    assert await signed_in(text) == (headers, [])


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (400, "{}", "client.sign_in: account 1 got 400 of POST /login; correct form or json"),
        (200, '{"token": "t"}', "client.token: the answer of POST /login has no text there;"),
        (200, "no json", "client.token: the answer"),
    ],
)
async def test_a_sign_in_that_gives_no_token_is_said(status: int, body: str, said: str) -> None:
    with pytest.raises(RefusedError) as refused:
        await signed_in(JSON, status, body)

    assert str(refused.value).startswith(said)
    assert "s3cret" not in str(refused.value)


def test_each_route_is_sent_as_the_file_says() -> None:
    accounts = [{"Authorization": f"Bearer {name}"} for name in "ab"]
    callers = Callers(described(FORM), {"account": cycle(accounts)})

    first, second = callers.request("GET /me"), callers.request("GET /me")
    assert [first.headers, second.headers] == accounts
    assert (first.json, first.form, first.deadline_seconds) == (None, None, 2.0)
    created = callers.request("POST /items")
    assert (created.json, created.deadline_seconds) == ({"title": "a pan"}, 3.0)
    assert callers.request("GET /ping").headers == {}
    login = callers.request("POST /login")
    assert login.form == {"username": "load1@example.com", "password": "s3cret"}
    assert (login.json, login.headers) == (None, {})


def test_a_broken_release_sends_its_body_and_the_others_theirs() -> None:
    text = FORM.replace("accounts = 3", 'accounts = 3\nversions = ["web/1.8", "ios/3.2"]')
    callers = Callers(described(text), {"account": cycle([{"Authorization": "Bearer t"}])})
    release = Release({"POST /items": {"titel": 1}}, versions=frozenset({"ios/3.2"}))

    sent = [callers.request("POST /items", release) for _ in range(2)]

    assert [one.headers["X-Client-Version"] for one in sent] == ["web/1.8.0", "ios/3.2.0"]
    assert [one.json for one in sent] == [{"title": "a pan"}, {"titel": 1}]


async def test_a_request_goes_below_the_path_of_the_address() -> None:
    request = Callers(described(FORM), {}).request("GET /ping")
    async with answering(404, '{"detail": "no"}') as (url, heard):
        answer = await ask(f"{url}/shop", request)

    assert (answer.status, answer.body) == (404, b'{"detail": "no"}')
    assert heard[0].line == "GET /shop/ping HTTP/1.1"
    assert heard[0].headers["host"] == url.removeprefix("http://")
