"""Places at admission: one caller has a share of them, and more is its own 429."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import httpx
import pytest

from service.app import Service
from service.domains.auth.attempts import Attempts
from tests.integration.calendar.conftest import Connect, Connected, Google
from tests.integration.conftest import PASSWORD, Owner, Someone
from tests.integration.fairness.conftest import HONEST, PROFILE, SIGN_IN, Quiet, all_of, at

GREEDY = "198.51.100.7"


@pytest.fixture
async def outsider(service: Service) -> AsyncIterator[httpx.AsyncClient]:
    async with at(service, GREEDY) as opened:
        yield opened


async def ask(answer: Awaitable[httpx.Response]) -> int:
    return (await answer).status_code


async def full(service: Service, name: str) -> None:
    """Wait until the greedy caller has all it can get of a class."""
    found = service.admission._classes[name]
    while found.of_caller.most_common(1)[:1] == [] or (
        found.of_caller.most_common(1)[0][1] < found.limits.of_caller
    ):
        await asyncio.sleep(0)


async def test_writes_that_wait_for_a_row_of_their_own(
    service: Service,
    client: httpx.AsyncClient,
    owner: Owner,
    honest: list[Someone],
    greedy: Someone,
    quiet: Quiet,
) -> None:
    body = {"display_name": "Somebody"}

    def write(who: Someone) -> Awaitable[int]:
        return ask(client.put(PROFILE, json=body, headers=who.headers))

    assert await write(greedy) == 200
    async with owner.transaction():
        await owner.execute("SELECT 1 FROM profiles WHERE account_id = $1 FOR UPDATE", greedy.id)
        crowd = [asyncio.ensure_future(write(greedy)) for _ in range(60)]
        await full(service, "write")
        statuses = await all_of(write(someone) for someone in honest)

    assert statuses == {200}
    assert 429 in set(await asyncio.gather(*crowd))
    assert quiet.samples.grown("load_shed_total") == 0


async def test_reads_without_end(
    client: httpx.AsyncClient, honest: list[Someone], greedy: Someone, quiet: Quiet
) -> None:
    def read(who: Someone) -> Awaitable[int]:
        return ask(client.get("/api/v1/settings", headers=who.headers))

    crowd = [asyncio.ensure_future(read(greedy)) for _ in range(60)]
    statuses = await all_of(read(someone) for someone in honest)

    assert statuses == {200}
    # On a busy machine some of the crowd wait too long for the one before them: their own doing.
    answers = await asyncio.gather(*crowd)
    assert {429} <= set(answers) <= {200, 429, 503}
    quiet.check(shed=answers.count(503))


async def test_sign_ins_of_one_address(
    service: Service,
    client: httpx.AsyncClient,
    outsider: httpx.AsyncClient,
    honest: list[Someone],
    greedy: Someone,
    quiet: Quiet,
) -> None:
    def sign_in(http: httpx.AsyncClient, who: Someone) -> Awaitable[int]:
        return ask(http.post(SIGN_IN, data={"username": who.email, "password": PASSWORD}))

    crowd = [asyncio.ensure_future(sign_in(outsider, greedy)) for _ in range(100)]
    await full(service, "login")
    # All from one address, as the users of an office are: some wait for the others.
    statuses = await all_of(sign_in(client, someone) for someone in honest)

    assert statuses == {200}
    assert set(await asyncio.gather(*crowd)) == {200, 429}
    quiet.check()


async def test_wrong_passwords_of_one_address_for_everybodys_accounts(
    service: Service,
    client: httpx.AsyncClient,
    outsider: httpx.AsyncClient,
    honest: list[Someone],
    quiet: Quiet,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    attempts = Attempts(5, clock=asyncio.get_running_loop().time)
    no_limit = Attempts(10_000, clock=asyncio.get_running_loop().time)
    monkeypatch.setattr(service.sign_in._limit, "_own", (attempts, no_limit))

    def sign_in(http: httpx.AsyncClient, who: Someone, password: str) -> Awaitable[int]:
        return ask(http.post(SIGN_IN, data={"username": who.email, "password": password}))

    guesses = await all_of(sign_in(outsider, someone, "wrong") for someone in honest)
    statuses = await all_of(sign_in(client, someone, PASSWORD) for someone in honest)

    assert guesses == {401, 429}
    assert statuses == {200}
    quiet.check()


@pytest.fixture
async def calendars(connect: Connect) -> list[Connected]:
    return [await connect() for _ in range(HONEST)]


Sync = Callable[[Connected], Awaitable[int]]


async def test_syncs_of_one_account(
    service: Service,
    client: httpx.AsyncClient,
    calendars: list[Connected],
    connected: Connected,
    google: Google,
    quiet: Quiet,
) -> None:
    def sync(who: Connected) -> Awaitable[int]:
        return ask(client.post("/api/v1/calendar/sync/auto", headers=who.headers))

    await google.behave(calendar_latency_ms=100)
    crowd = [asyncio.ensure_future(sync(connected)) for _ in range(60)]
    await full(service, "calendar")
    statuses = await all_of(sync(who) for who in calendars)

    assert statuses == {200}
    assert set(await asyncio.gather(*crowd)) == {200, 429}
    quiet.check()


async def test_many_who_wait_for_one_refresh_are_served_and_let_others_pass(
    client: httpx.AsyncClient,
    calendars: list[Connected],
    expired: Connected,
    google: Google,
    quiet: Quiet,
) -> None:
    def sync(who: Connected) -> Awaitable[int]:
        return ask(client.post("/api/v1/calendar/sync/auto", headers=who.headers))

    await google.behave(token_latency_ms=500)
    waiting = [asyncio.ensure_future(sync(expired)) for _ in range(8)]

    assert await all_of(sync(who) for who in calendars) == {200}
    assert set(await asyncio.gather(*waiting)) == {200}
    assert (await google.verdict(expired.grant))["token_calls"] == 1
    quiet.check()
