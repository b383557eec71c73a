"""Waiting for what other processes do: look again until it is so, never a fixed pause."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")
PATIENCE_SECONDS = 60


def until(look: Callable[[], T], what: str, *, seconds: float = PATIENCE_SECONDS) -> T:
    """The first true value that `look` returns. Fails with `what` when there is none in time."""
    deadline = time.monotonic() + seconds
    while True:
        seen = look()
        if seen:
            return seen
        if time.monotonic() > deadline:
            message = f"not seen within {seconds} s: {what}"
            raise AssertionError(message)
        time.sleep(0.2)


async def until_true(look: Callable[[], Awaitable[bool]], what: str) -> None:
    """Await that `look` says yes. Fails with `what` when it does not in time."""
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not await look():
                await asyncio.sleep(0.05)
    except TimeoutError:
        message = f"not seen within {PATIENCE_SECONDS} s: {what}"
        raise AssertionError(message) from None
