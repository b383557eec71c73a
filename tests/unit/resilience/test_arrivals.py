import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from firedrill_kit.resilience.arrivals import OPEN_REQUEST_BYTES, Arrivals

KIB = 1024


class Body:
    """A body that is arriving: `grow` says that bytes came, `is_given_up()` whether it lost its time."""

    def __init__(self) -> None:
        self.grow: Callable[[int], None] = lambda _count: None
        self.limit = asyncio.timeout(60)

    def is_given_up(self) -> bool:
        ends_at = self.limit.when()
        return ends_at is not None and ends_at <= asyncio.get_running_loop().time()


@asynccontextmanager
async def body(arrivals: Arrivals, caller: str) -> AsyncIterator[Body]:
    found = Body()
    try:
        async with found.limit:
            with arrivals.arriving(caller, found.limit) as found.grow:
                yield found
    except TimeoutError:
        assert found.is_given_up()


async def test_who_holds_too_much_loses_what_has_been_arriving_longest() -> None:
    arrivals = Arrivals(of_caller_bytes=3 * OPEN_REQUEST_BYTES, bytes_max=10**9)
    async with AsyncExitStack() as stack:
        silent = [await stack.enter_async_context(body(arrivals, "a")) for _ in range(3)]
        other = await stack.enter_async_context(body(arrivals, "b"))
        assert not any(each.is_given_up() for each in [*silent, other])

        newest = await stack.enter_async_context(body(arrivals, "a"))

        assert [each.is_given_up() for each in silent] == [True, False, False]
        assert not newest.is_given_up()
        assert not other.is_given_up()
        assert arrivals.held_bytes == 4 * OPEN_REQUEST_BYTES


async def test_bytes_count_as_requests_do() -> None:
    arrivals = Arrivals(of_caller_bytes=300 * KIB, bytes_max=10**9)
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(body(arrivals, "a"))
        second = await stack.enter_async_context(body(arrivals, "a"))

        first.grow(200 * KIB)
        second.grow(KIB)
        assert not first.is_given_up()
        second.grow(200 * KIB)

        assert first.is_given_up()
        assert not second.is_given_up()
        first.grow(200 * KIB)  # of which nothing is kept
        assert arrivals.held_bytes == OPEN_REQUEST_BYTES + 201 * KIB


async def test_when_all_together_hold_too_much_whoever_holds_most_loses() -> None:
    arrivals = Arrivals(of_caller_bytes=500 * KIB, bytes_max=600 * KIB)
    async with AsyncExitStack() as stack:
        modest = await stack.enter_async_context(body(arrivals, "modest"))
        greedy = await stack.enter_async_context(body(arrivals, "greedy"))
        greedy.grow(400 * KIB)
        late = await stack.enter_async_context(body(arrivals, "late"))

        late.grow(200 * KIB)

        assert [each.is_given_up() for each in (modest, greedy, late)] == [False, True, False]


async def test_nothing_is_held_of_what_has_arrived_left_or_failed() -> None:
    arrivals = Arrivals(of_caller_bytes=500 * KIB, bytes_max=600 * KIB)

    async with body(arrivals, "a") as arrived:
        arrived.grow(KIB)
    with pytest.raises(ConnectionError):
        async with body(arrivals, "b"):
            raise ConnectionError

    assert arrivals.held_bytes == 0
