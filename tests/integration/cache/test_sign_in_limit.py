"""One limit of failed sign-ins over all replicas, and each replica's own while the cache is away."""

import asyncio
from collections import Counter

import httpx
import pytest
from argon2 import PasswordHasher

from service.app import Service
from stack.cache import CacheServer
from tests.integration.cache.conftest import Replicas, is_open
from tests.integration.cache.server import ask
from tests.integration.conftest import Owner

pytestmark = pytest.mark.usefixtures("patient")

PASSWORD = "correct horse battery"
LIMIT = 6
ACCOUNT = "limited@example.com"


@pytest.fixture
async def account(owner: Owner) -> str:
    cheap = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(PASSWORD)
    await owner.execute(
        "INSERT INTO accounts (email, password_hash) VALUES ($1, $2) ON CONFLICT DO NOTHING",
        ACCOUNT,
        cheap,
    )
    return ACCOUNT


async def sign_in(
    service: Service, password: str = "wrong", *, email: str = ACCOUNT, address: str = "10.0.0.1"
) -> httpx.Response:
    transport = httpx.ASGITransport(service.asgi, client=(address, 1234))
    async with httpx.AsyncClient(transport=transport, base_url="http://api.test") as client:
        form = {"username": email, "password": password}
        return await client.post("/api/v1/auth/token", data=form)


async def guesses(services: list[Service], each: int) -> Counter[int]:
    """The answers to wrong passwords at all replicas at the same time, a few at once at each."""
    found: Counter[int] = Counter()
    for _ in range(each):
        answers = await asyncio.gather(*(sign_in(service) for service in services))
        found.update(answer.status_code for answer in answers)
    return found


@pytest.mark.parametrize("count", [2, 4])
async def test_the_limit_is_one_over_all_replicas(
    replicas: Replicas, cache_server: CacheServer, account: str, count: int
) -> None:
    services = await replicas(count, cache_url=cache_server.url(), login_attempts_per_minute=LIMIT)

    assert await guesses(services, LIMIT) == {401: LIMIT, 429: (count - 1) * LIMIT}
    refused = await sign_in(services[0], PASSWORD)
    assert (refused.status_code, refused.json()["code"]) == (429, "rate_limited")
    assert 0 < int(refused.headers["retry-after"]) <= 60


async def test_without_the_cache_each_replica_has_the_limit_and_none_is_open_or_closed(
    replicas: Replicas, cache_server: CacheServer, account: str
) -> None:
    services = await replicas(2, cache_url=cache_server.url(), login_attempts_per_minute=LIMIT)
    cache_server.kill()

    assert await guesses(services, 2 * LIMIT) == {401: 2 * LIMIT, 429: 2 * LIMIT}
    assert (await sign_in(services[0], PASSWORD, address="10.0.0.2")).status_code == 200


async def test_what_was_counted_before_the_cache_went_still_counts(
    replicas: Replicas, cache_server: CacheServer, account: str
) -> None:
    (service,) = await replicas(1, cache_url=cache_server.url(), login_attempts_per_minute=LIMIT)
    assert await guesses([service], LIMIT) == {401: LIMIT}

    cache_server.kill()

    assert await guesses([service], 2) == {429: 2}


async def test_an_account_has_a_limit_from_all_addresses_together(
    replicas: Replicas, cache_server: CacheServer, account: str
) -> None:
    services = await replicas(
        2, cache_url=cache_server.url(), login_attempts_of_account_per_minute=LIMIT
    )

    answers = [
        await sign_in(services[number % 2], email=email, address=f"10.1.0.{number}")
        for number in range(LIMIT)
        for email in (ACCOUNT.upper(),)
    ]
    refused = await sign_in(services[0], PASSWORD, address="10.2.0.1")
    other = await sign_in(services[1], email="somebody.else@example.com", address="10.2.0.1")

    assert {answer.status_code for answer in answers} == {401}
    assert (refused.status_code, other.status_code) == (429, 401)


async def test_a_success_takes_its_attempt_back(
    replicas: Replicas, cache_server: CacheServer, account: str
) -> None:
    services = await replicas(2, cache_url=cache_server.url(), login_attempts_per_minute=1)

    for service in services * 3:
        assert (await sign_in(service, PASSWORD)).status_code == 200
    assert ask(cache_server, "KEYS", "*sign_in*") == []


async def test_a_sign_in_that_the_database_could_not_answer_is_taken_back(
    replicas: Replicas, cache_server: CacheServer, account: str, owner: Owner
) -> None:
    (service,) = await replicas(1, cache_url=cache_server.url(), login_attempts_per_minute=1)
    await owner.execute("ALTER TABLE accounts RENAME password_hash TO password_hidden")
    try:
        answer = await sign_in(service, PASSWORD)
    finally:
        await owner.execute("ALTER TABLE accounts RENAME password_hidden TO password_hash")

    assert answer.status_code == 503
    assert (await sign_in(service, PASSWORD)).status_code == 200


async def test_neither_address_nor_account_is_readable_in_the_cache(
    replicas: Replicas, cache_server: CacheServer, account: str
) -> None:
    (service,) = await replicas(1, cache_url=cache_server.url())

    await sign_in(service)
    names = b" ".join(ask(cache_server, "KEYS", "*"))

    assert names.count(b"sign_in:") == 2
    assert b"10.0.0.1" not in names
    assert b"limited" not in names


async def test_the_shared_limit_is_back_when_the_cache_is(
    replicas: Replicas, cache_server: CacheServer, account: str
) -> None:
    services = await replicas(2, cache_url=cache_server.url(), login_attempts_per_minute=LIMIT)
    cache_server.kill()
    await guesses(services, 1)
    cache_server.start()
    for service in services:
        await is_open(service.cache)

    found = await guesses(services, LIMIT)

    assert found[401] == LIMIT
