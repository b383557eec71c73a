"""Waiting for what other processes do: look again until it is so, never a fixed pause."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")
PATIENCE_SECONDS = 60


def until(look: Callable[[], T], what: str, *, seconds: float = PATIENCE_SECONDS) -> T:
    """The first true value that `look` returns. Raises TimeoutError, which names `what`."""
    deadline = time.monotonic() + seconds
    while True:
        seen = look()
        if seen:
            return seen
        if time.monotonic() > deadline:
            raise TimeoutError(f"not seen within {seconds:g} s: {what}")
        time.sleep(0.2)


async def until_true(look: Callable[[], Awaitable[bool]], what: str) -> None:
    """Await that `look` says yes. Raises TimeoutError, which names `what`."""
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not await look():  # noqa: ASYNC110 - other processes: there is no event
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise TimeoutError(f"not seen within {PATIENCE_SECONDS} s: {what}") from None
