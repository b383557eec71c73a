"""A deadline that is kept: answered from outside, while what is late cleans up in the background.

`asyncio.timeout(1)` around a statement over a network that went silent returned after 3.0 s (measured):
closing the connection politely takes its own time. So the work runs in a task of its own, and when the
time is up the caller gets an answer without waiting for that task's cleanup.
"""

import asyncio
from collections.abc import Callable
from contextvars import ContextVar

from starlette.types import ASGIApp, Message, Receive, Scope, Send

FOREVER = float("inf")

_ends_at: ContextVar[float] = ContextVar("deadline_ends_at", default=FOREVER)


class DeadlineExceededError(Exception):
    """The time of the request is up and nothing has been answered."""


def remaining() -> float:
    """Return the seconds left for the running request, `inf` outside one, never below 0."""
    ends_at = _ends_at.get()
    return ends_at if ends_at == FOREVER else max(0.0, ends_at - asyncio.get_running_loop().time())


class Deadline:
    """ASGI middleware. seconds_for: the limit of a scope, greater than 0.

    Raises DeadlineExceededError when the time is up before the answer started. An answer that has
    started gets the same time once more to be sent, then the connection is given up.
    """

    def __init__(self, app: ASGIApp, *, seconds_for: Callable[[Scope], float]) -> None:
        self._app = app
        self._seconds_for = seconds_for
        self._late: set[asyncio.Task[None]] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        seconds = self._seconds_for(scope)
        ends_at = asyncio.get_running_loop().time() + seconds
        started = timed_out = False

        async def guarded_send(message: Message) -> None:
            nonlocal started
            if timed_out:
                return
            started = True
            await send(message)

        task = asyncio.ensure_future(self._run(ends_at, scope, receive, guarded_send))
        try:
            await asyncio.wait({task}, timeout=seconds)
            if not task.done() and started:
                await asyncio.wait({task}, timeout=seconds)
        except asyncio.CancelledError:
            self._abandon(task)
            raise
        if task.done():
            task.result()
            return
        timed_out = True
        self._abandon(task)
        raise DeadlineExceededError

    async def _run(self, ends_at: float, scope: Scope, receive: Receive, send: Send) -> None:
        # In the context of this task only: a pipelined request starts in the context of the one
        # before it (uvicorn).
        _ends_at.set(ends_at)
        await self._app(scope, receive, send)

    def _abandon(self, task: asyncio.Task[None]) -> None:
        task.cancel()
        self._late.add(task)
        task.add_done_callback(self._forget)

    def _forget(self, task: asyncio.Task[None]) -> None:
        self._late.discard(task)
        if not task.cancelled():
            task.exception()  # what it would have said no longer has a reader

    @property
    def late_tasks(self) -> int:
        """How many abandoned requests are still cleaning up."""
        return len(self._late)
