import asyncio
import time

import pytest
from starlette.types import Message, Receive, Scope, Send

from firedrill_kit.resilience.admission import (
    IN_VAIN_SECONDS,
    Admission,
    CallerBusyError,
    Door,
    Limits,
    OverloadedError,
    Place,
)

NO_WAIT = Limits(at_work=3, of_caller=2)
PATIENT = Limits(at_work=2, of_caller=1, wait_seconds=60, waiting=4, waiting_of_caller=3)
SHORT = Limits(at_work=2, of_caller=1, wait_seconds=0.01, waiting=4, waiting_of_caller=3)


class Counts:
    """What an admission reports."""

    def __init__(self, **limits: Limits) -> None:
        self.shed: list[str] = []
        self.at_work: dict[str, int] = {}
        self.admission = Admission(
            limits, on_change=self.at_work.__setitem__, on_shed=self.shed.append
        )


async def settled() -> None:
    """Let every task that can go on do so."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_one_more_than_the_limit_is_refused_and_counted() -> None:
    counts = Counts(read=NO_WAIT)
    for caller in ("a", "b", "c"):
        await counts.admission.enter("read", caller)

    with pytest.raises(OverloadedError):
        await counts.admission.enter("read", "d")
    with pytest.raises(OverloadedError):
        counts.admission.check("read")

    assert counts.shed == ["read", "read"]
    assert counts.at_work == {"read": 3}
    for caller in ("a", "b", "c"):
        counts.admission.leave("read", caller)
    assert counts.at_work == {"read": 0}


async def test_a_caller_beyond_its_share_is_refused_and_nobody_else() -> None:
    counts = Counts(read=NO_WAIT)
    for _ in range(2):
        await counts.admission.enter("read", "greedy")

    with pytest.raises(CallerBusyError):
        await counts.admission.enter("read", "greedy")

    counts.admission.check("read")
    await counts.admission.enter("read", "modest")
    assert counts.shed == [], "that is the caller's doing, not an overload"


async def test_a_caller_beyond_its_share_is_told_so_even_when_all_is_full() -> None:
    counts = Counts(read=NO_WAIT)
    for caller in ("greedy", "greedy", "modest"):
        await counts.admission.enter("read", caller)

    with pytest.raises(CallerBusyError):
        await counts.admission.enter("read", "greedy")


async def test_classes_do_not_take_each_others_places() -> None:
    counts = Counts(read=NO_WAIT, write=NO_WAIT)
    for caller in ("a", "b", "c"):
        await counts.admission.enter("read", caller)

    await counts.admission.enter("write", "a")

    assert counts.at_work == {"read": 3, "write": 1}


async def test_a_place_that_is_given_back_goes_to_the_callers_in_turn() -> None:
    admission = Counts(login=PATIENT).admission
    order: list[str] = []

    async def enter(caller: str) -> None:
        await admission.enter("login", caller)
        order.append(caller)

    for caller in ("greedy", "other"):
        await admission.enter("login", caller)
    # The long line came first, and is served once before the others are.
    waiting = [asyncio.create_task(enter(caller)) for caller in ["greedy"] * 3 + ["modest"]]
    await settled()
    assert order == []

    admission.leave("login", "other")
    await settled()
    assert order == ["modest"], "greedy has had its share"
    admission.leave("login", "greedy")
    await settled()
    assert order == ["modest", "greedy"]
    for caller in ("modest", "greedy", "greedy"):
        admission.leave("login", caller)
        await settled()
    await asyncio.gather(*waiting)
    admission.leave("login", "greedy")


async def test_a_line_that_is_too_long_costs_its_own_caller() -> None:
    counts = Counts(login=PATIENT)
    await counts.admission.enter("login", "greedy")
    line = [asyncio.create_task(counts.admission.enter("login", "greedy")) for _ in range(3)]
    await settled()

    with pytest.raises(CallerBusyError):
        await counts.admission.enter("login", "greedy")

    counts.admission.check("login")
    await counts.admission.enter("login", "modest")
    for task in line:
        task.cancel()
    await asyncio.gather(*line, return_exceptions=True)


async def test_when_nobody_more_may_wait_everybody_is_refused() -> None:
    counts = Counts(login=PATIENT)
    for caller in ("a", "b"):
        await counts.admission.enter("login", caller)
    lines = [asyncio.create_task(counts.admission.enter("login", caller)) for caller in "cdef"]
    await settled()

    with pytest.raises(OverloadedError):
        counts.admission.check("login")
    with pytest.raises(OverloadedError):
        await counts.admission.enter("login", "g")

    for task in lines:
        task.cancel()
    await asyncio.gather(*lines, return_exceptions=True)
    assert counts.shed == ["login", "login"]


@pytest.mark.parametrize(
    ("caller", "refusal", "shed"),
    [("a", CallerBusyError, []), ("c", OverloadedError, ["login"])],
)
async def test_who_has_waited_long_enough_is_told_whose_doing_it_is(
    caller: str, refusal: type[Exception], shed: list[str]
) -> None:
    counts = Counts(login=SHORT)
    for each in ("a", "b"):
        await counts.admission.enter("login", each)

    with pytest.raises(refusal):
        await counts.admission.enter("login", caller)

    assert counts.shed == shed
    counts.admission.leave("login", "a")
    assert counts.at_work == {"login": 1}, "nobody is waiting any more"


async def test_a_share_that_comes_free_in_the_moment_of_giving_up_is_no_overload() -> None:
    counts = Counts(read=SHORT)
    await counts.admission.enter("read", "greedy")
    waiting = asyncio.ensure_future(counts.admission.enter("read", "greedy"))
    await settled()

    # Later than the end of the wait and due in the same round of the loop.
    loop = asyncio.get_running_loop()
    loop.call_later(SHORT.wait_seconds * 1.1, counts.admission.leave, "read", "greedy")
    time.sleep(SHORT.wait_seconds * 2)  # noqa: ASYNC251 - the loop must be late

    with pytest.raises(CallerBusyError):
        await waiting
    assert counts.shed == []


async def test_where_one_waited_in_vain_nobody_waits_for_a_while() -> None:
    now = 100.0
    shed: list[str] = []
    admission = Admission({"login": SHORT}, on_shed=shed.append, clock=lambda: now)
    for caller in ("a", "b"):
        await admission.enter("login", caller)
    with pytest.raises(OverloadedError):
        await admission.enter("login", "c")

    with pytest.raises(OverloadedError):
        admission.check("login")
    with pytest.raises(CallerBusyError):
        await admission.enter("login", "a")
    now += IN_VAIN_SECONDS
    admission.check("login")

    assert shed == ["login", "login"]


async def test_what_has_passed_the_door_counts_until_it_can_have_taken_its_place() -> None:
    counts = Counts(read=NO_WAIT)
    for _ in range(3):
        counts.admission.check("read")

    with pytest.raises(OverloadedError):
        counts.admission.check("read")
    await settled()
    counts.admission.check("read")


async def test_a_turn_that_comes_in_the_moment_of_giving_up_is_passed_on() -> None:
    counts = Counts(login=PATIENT)
    for caller in ("a", "b"):
        await counts.admission.enter("login", caller)
    leaver = asyncio.create_task(counts.admission.enter("login", "c"))
    heir = asyncio.create_task(counts.admission.enter("login", "d"))
    await settled()

    counts.admission.leave("login", "a")
    leaver.cancel()
    await asyncio.gather(leaver, return_exceptions=True)
    await heir

    assert counts.at_work == {"login": 2}


async def test_who_has_given_up_but_not_noticed_is_passed_over() -> None:
    counts = Counts(login=PATIENT)
    for caller in ("a", "b"):
        await counts.admission.enter("login", caller)
    leaver = asyncio.create_task(counts.admission.enter("login", "c"))
    heir = asyncio.create_task(counts.admission.enter("login", "d"))
    await settled()

    leaver.cancel()
    counts.admission.leave("login", "a")
    await asyncio.gather(leaver, return_exceptions=True)
    await heir

    assert counts.at_work == {"login": 2}


async def receive() -> Message:
    return {"type": "http.request"}


async def test_a_place_is_held_until_the_answer_starts() -> None:
    """Sending may take as long as the caller likes."""
    counts = Counts(read=NO_WAIT)
    seen: list[int] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(counts.at_work["read"])
        await send({"type": "http.response.start"})
        seen.append(counts.at_work["read"])
        await send({"type": "http.response.body"})

    async def send(_message: Message) -> None:
        seen.append(counts.at_work["read"])

    place = Place(
        app, admission=counts.admission, class_of=lambda _: "read", caller_of=lambda _: "a"
    )
    await place({"type": "http"}, receive, send)

    assert seen == [1, 0, 0, 0]


async def test_a_place_is_given_back_when_the_work_is_cancelled() -> None:
    counts = Counts(read=NO_WAIT)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await asyncio.Event().wait()

    place = Place(
        app, admission=counts.admission, class_of=lambda _: "read", caller_of=lambda _: "a"
    )
    task = asyncio.ensure_future(place({"type": "http"}, receive, lambda _: asyncio.sleep(0)))
    await settled()
    assert counts.at_work == {"read": 1}

    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert counts.at_work == {"read": 0}


@pytest.mark.parametrize("layer", ["door", "place"])
async def test_what_has_no_class_is_always_let_through(layer: str) -> None:
    admission = Counts(read=NO_WAIT).admission
    reached: list[Scope] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        reached.append(scope)

    middleware: Door | Place = Door(app, admission=admission, class_of=lambda _: None)
    if layer == "place":
        middleware = Place(
            app, admission=admission, class_of=lambda _: None, caller_of=lambda _: "a"
        )
    await middleware({"type": "http"}, receive, lambda _: asyncio.sleep(0))

    assert len(reached) == 1
