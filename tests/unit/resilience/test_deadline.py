import asyncio

import pytest
from starlette.types import Message, Receive, Scope, Send

from firedrill_kit.resilience import deadline
from firedrill_kit.resilience.deadline import (
    CallerDeadlineExceededError,
    Deadline,
    DeadlineExceededError,
)

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


async def test_the_callers_own_time_ends_its_waiting_and_not_the_work() -> None:
    finish, done = asyncio.Event(), asyncio.Event()
    seen: list[float] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await finish.wait()
        seen.append(deadline.remaining())
        done.set()

    middleware = Deadline(app, seconds_for=lambda _: 5.0, patience_for=lambda _: 0.01)

    with pytest.raises(CallerDeadlineExceededError):
        await middleware(SCOPE, receive, lambda _message: asyncio.sleep(0))
    assert middleware.late_tasks == 1
    finish.set()
    await done.wait()

    assert 1 < seen[0] <= 5.0, "what is shared is not hurried by one caller"
    while middleware.late_tasks:
        await asyncio.sleep(0)


async def test_work_that_nobody_waits_for_ends_with_the_deadline() -> None:
    ended = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    middleware = Deadline(app, seconds_for=lambda _: 0.05, patience_for=lambda _: 0.01)

    with pytest.raises(CallerDeadlineExceededError):
        await middleware(SCOPE, receive, lambda _message: asyncio.sleep(0))

    await ended.wait()


async def test_a_caller_without_time_has_nothing_begun() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise AssertionError

    middleware = Deadline(app, seconds_for=lambda _: 5.0, patience_for=lambda _: -0.1)

    with pytest.raises(CallerDeadlineExceededError):
        await middleware(SCOPE, receive, lambda _message: asyncio.sleep(0))


@pytest.mark.parametrize(
    ("values", "seconds"),
    [
        ([b"100"], 0.1),
        ([b"0"], 0.0),
        ([b"999999"], 999.999),
        ([b"500", b"100", b"x"], 0.1),
        ([b"9999999"], deadline.FOREVER),
        ([b"-1"], deadline.FOREVER),
        ([b"1e1"], deadline.FOREVER),
        (["１".encode()], deadline.FOREVER),
        ([b""], deadline.FOREVER),
        ([], deadline.FOREVER),
    ],
)
def test_a_caller_says_how_long_it_waits_in_milliseconds(
    values: list[bytes], seconds: float
) -> None:
    headers = [(b"x-request-deadline-ms", value) for value in values]

    assert deadline.patience_seconds(headers) == seconds


def test_outside_a_request_there_is_no_deadline() -> None:
    assert deadline.remaining() == deadline.FOREVER
