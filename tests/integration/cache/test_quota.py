"""What one replica learns of the provider's quota, the others know before they ask."""

from collections.abc import AsyncIterator

import pytest

from service.cache import Cache
from service.upstream.quota import KEY, QuotaGate
from stack.cache import CacheServer
from tests.integration.cache.conftest import opened_cache
from tests.integration.cache.server import ask

pytestmark = pytest.mark.usefixtures("patient")


class Clock:
    """Of one replica: no two start at the same number."""

    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


@pytest.fixture
async def caches(cache_server: CacheServer) -> AsyncIterator[tuple[Cache, Cache]]:
    async with (
        opened_cache(cache_server.url()) as one,
        opened_cache(cache_server.url()) as other,
    ):
        yield one, other


async def test_a_replica_that_was_not_refused_keeps_the_pause_as_well(
    caches: tuple[Cache, Cache],
) -> None:
    one, other = (
        QuotaGate(cache, clock=Clock(now)) for cache, now in zip(caches, (5.0, 7e6), strict=True)
    )
    assert await other.seconds() <= 0

    await one.close(30.0)

    assert 25 < await other.seconds() <= 30


async def test_a_shorter_pause_of_another_replica_does_not_shorten_it(
    caches: tuple[Cache, Cache], cache_server: CacheServer
) -> None:
    one, other = (QuotaGate(cache, clock=Clock(0.0)) for cache in caches)

    await one.close(40.0)
    await other.close(2.0)

    assert ask(cache_server, "PTTL", KEY) > 30_000


async def test_while_the_cache_is_away_a_replica_keeps_its_own_pause(
    caches: tuple[Cache, Cache], cache_server: CacheServer
) -> None:
    clock = Clock(100.0)
    one, other = (QuotaGate(cache, clock=clock) for cache in caches)
    cache_server.kill()

    await one.close(10.0)

    assert await one.seconds() == 10
    assert await other.seconds() <= 0
    clock.now += 11
    assert await one.seconds() <= 0
