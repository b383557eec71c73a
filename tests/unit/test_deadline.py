import asyncio

import pytest
from starlette.types import Message, Receive, Scope, Send

from service.resilience import deadline
from service.resilience.deadline import Deadline, DeadlineExceededError

SCOPE: Scope = {"type": "http"}


async def receive() -> Message:
    return {"type": "http.request"}


async def test_work_in_time_passes_through() -> None:
    sent: list[Message] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start"})

    async def send(message: Message) -> None:
        sent.append(message)

    await Deadline(app, seconds_for=lambda _: 5.0)(SCOPE, receive, send)

    assert sent == [{"type": "http.response.start"}]


async def test_late_work_is_answered_before_its_cleanup_ends() -> None:
    cleaned_up = asyncio.Event()
    may_clean_up = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await may_clean_up.wait()
            cleaned_up.set()

    middleware = Deadline(app, seconds_for=lambda _: 0.01)

    with pytest.raises(DeadlineExceededError):
        await middleware(SCOPE, receive, lambda _message: asyncio.sleep(0))
    assert middleware.late_tasks == 1
    assert not cleaned_up.is_set()

    may_clean_up.set()
    await cleaned_up.wait()
    while middleware.late_tasks:
        await asyncio.sleep(0)


async def test_what_late_work_sends_after_the_answer_is_dropped() -> None:
    sent: list[Message] = []
    done = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await send({"type": "http.response.start"})
            done.set()

    async def send(message: Message) -> None:
        sent.append(message)

    with pytest.raises(DeadlineExceededError):
        await Deadline(app, seconds_for=lambda _: 0.01)(SCOPE, receive, send)
    await done.wait()

    assert sent == []


async def test_an_error_of_the_work_passes_unchanged() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise KeyError("x")

    with pytest.raises(KeyError):
        await Deadline(app, seconds_for=lambda _: 5.0)(SCOPE, receive, lambda _: asyncio.sleep(0))


async def test_the_work_can_ask_how_much_time_is_left() -> None:
    seen: list[float] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(deadline.remaining())

    await Deadline(app, seconds_for=lambda _: 5.0)(SCOPE, receive, lambda _: asyncio.sleep(0))

    assert 0 < seen[0] <= 5.0


def test_outside_a_request_there_is_no_deadline() -> None:
    assert deadline.remaining() == deadline.FOREVER
