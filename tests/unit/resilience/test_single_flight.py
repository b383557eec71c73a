import asyncio
import contextvars
import gc

import pytest

from firedrill_kit.resilience.single_flight import SingleFlight

_trace = contextvars.ContextVar("trace", default="none")


class Work:
    """Counts its runs and ends when the test lets it."""

    def __init__(self, error: Exception | None = None) -> None:
        self.runs = 0
        self.started = asyncio.Event()
        self.finish = asyncio.Event()
        self.finished = False
        self.seen_trace = ""
        self._error = error

    async def __call__(self) -> str:
        self.runs += 1
        self.seen_trace = _trace.get()
        self.started.set()
        await self.finish.wait()
        self.finished = True
        if self._error:
            raise self._error
        return f"result {self.runs}"


async def test_callers_of_one_key_share_one_run_and_its_result() -> None:
    flights: SingleFlight[str, str] = SingleFlight()
    work = Work()

    callers = [asyncio.create_task(flights.run("a", work)) for _ in range(50)]
    await work.started.wait()
    work.finish.set()
    results = await asyncio.gather(*callers)

    assert set(results) == {"result 1"}
    assert work.runs == 1


async def test_different_keys_fly_at_the_same_time() -> None:
    flights: SingleFlight[str, str] = SingleFlight()
    first, second = Work(), Work()

    callers = [
        asyncio.create_task(flights.run("a", first)),
        asyncio.create_task(flights.run("b", second)),
    ]
    await first.started.wait()
    await second.started.wait()

    assert len(flights) == 2
    first.finish.set()
    second.finish.set()
    await asyncio.gather(*callers)


async def test_a_failure_reaches_every_caller_and_the_next_one_starts_afresh() -> None:
    flights: SingleFlight[str, str] = SingleFlight()
    failing, working = Work(error=LookupError("gone")), Work()
    failing.finish.set()
    working.finish.set()

    results = await asyncio.gather(
        *(flights.run("a", failing) for _ in range(3)), return_exceptions=True
    )

    assert [type(result) for result in results] == [LookupError] * 3
    assert await flights.run("a", working) == "result 1"


async def test_a_cancelled_caller_leaves_the_flight_to_the_others() -> None:
    flights: SingleFlight[str, str] = SingleFlight()
    work = Work()

    first = asyncio.create_task(flights.run("a", work))
    await work.started.wait()
    second = asyncio.create_task(flights.run("a", work))
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    work.finish.set()

    assert await second == "result 1"


async def test_a_flight_finishes_although_every_caller_has_left() -> None:
    flights: SingleFlight[str, str] = SingleFlight()
    work = Work(error=LookupError("nobody retrieves this"))

    caller = asyncio.create_task(flights.run("a", work))
    await work.started.wait()
    caller.cancel()
    await asyncio.gather(caller, return_exceptions=True)
    del caller
    gc.collect()
    work.finish.set()
    await flights.drain(seconds=5)

    assert work.finished
    assert len(flights) == 0


async def test_a_flight_inherits_nothing_from_its_first_caller() -> None:
    flights: SingleFlight[str, str] = SingleFlight()
    work = Work()
    work.finish.set()

    _trace.set("of the first caller")
    await flights.run("a", work)

    assert work.seen_trace == "none"


async def test_the_entry_is_gone_as_soon_as_the_flight_has_landed() -> None:
    flights: SingleFlight[str, str] = SingleFlight()
    work = Work()
    work.finish.set()

    await flights.run("a", work)

    assert "a" not in flights
    assert await flights.run("a", work) == "result 2"


async def test_draining_waits_for_flights_and_cancels_those_that_take_too_long() -> None:
    flights: SingleFlight[str, str] = SingleFlight()
    quick, stuck = Work(), Work()
    callers = [
        asyncio.create_task(flights.run("quick", quick)),
        asyncio.create_task(flights.run("stuck", stuck)),
    ]
    await stuck.started.wait()
    quick.finish.set()

    cancelled = await flights.drain(seconds=0.05)

    assert cancelled == 1
    assert quick.finished
    assert not stuck.finished
    assert len(flights) == 0
    await asyncio.gather(*callers, return_exceptions=True)
