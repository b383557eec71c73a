"""A deadline that is kept: answered from outside, while what is late cleans up in the background.

`asyncio.timeout(1)` around a statement over a network that went silent returned after 3.0 s (measured):
closing the connection politely takes its own time. So the work runs in a task of its own, and when the
time is up the caller gets an answer without waiting for that task's cleanup.

A caller may have less time than the route, and says so in a header. That ends its waiting, not the work:
a statement that is cancelled costs a connection, a call that is cut short says nothing about the provider,
and both belong to everybody.
"""

import asyncio
from collections.abc import Callable, Iterable
from contextvars import ContextVar

from starlette.types import ASGIApp, Message, Receive, Scope, Send

FOREVER = float("inf")
HEADER = "X-Request-Deadline-Ms"
HEADER_MS_MAX = 999_999
PARAMETER = {
    "name": HEADER,
    "in": "header",
    "required": False,
    "description": "Milliseconds, from the first byte of the request, after which its caller no longer "
    "needs the answer: then 408 `caller_deadline_exceeded`. It can only shorten what the route may take, "
    "and what was begun may still be completed.",
    "schema": {"type": "integer", "minimum": 1, "maximum": HEADER_MS_MAX},
}
"""The header in OpenAPI."""
_NAME = HEADER.lower().encode()

_ends_at: ContextVar[float] = ContextVar("deadline_ends_at", default=FOREVER)


class DeadlineExceededError(Exception):
    """The time of the request is up and nothing has been answered."""


class CallerDeadlineExceededError(Exception):
    """The caller's own time is up and nothing has been answered."""


def remaining() -> float:
    """Return the seconds left for the running request, `inf` outside one, never below 0."""
    ends_at = _ends_at.get()
    return ends_at if ends_at == FOREVER else max(0.0, ends_at - asyncio.get_running_loop().time())


def patience_seconds(headers: Iterable[tuple[bytes, bytes]]) -> float:
    """Return what the caller gives the request, by its header; `inf` where it says nothing that counts."""
    longest = len(str(HEADER_MS_MAX))
    given = [
        int(value)
        for name, value in headers
        if name == _NAME and value.isdigit() and len(value) <= longest
    ]
    return min(given) / 1000 if given else FOREVER


class Deadline:
    """ASGI middleware. seconds_for: the limit of a scope, greater than 0, counted from here.

    patience_for: the seconds that the caller still has, `inf` for any number.
    Raises DeadlineExceededError or CallerDeadlineExceededError when the time is up before the answer
    started. How long a started answer takes is between the server and the caller.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        seconds_for: Callable[[Scope], float],
        patience_for: Callable[[Scope], float] = lambda _scope: FOREVER,
    ) -> None:
        self._app = app
        self._seconds_for = seconds_for
        self._patience_for = patience_for
        self._late: set[asyncio.Task[None]] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        seconds = self._seconds_for(scope)
        patience = self._patience_for(scope)
        if patience <= 0:
            raise CallerDeadlineExceededError
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + seconds
        started = timed_out = False

        async def guarded_send(message: Message) -> None:
            nonlocal started
            if timed_out:
                return
            started = True
            await send(message)

        task = asyncio.ensure_future(self._run(ends_at, scope, receive, guarded_send))
        try:
            await asyncio.wait({task}, timeout=min(seconds, patience))
            if not task.done() and started:
                await asyncio.wait({task})
        except asyncio.CancelledError:
            self._let_go(task, cancel_at=loop.time())
            raise
        if task.done():
            task.result()
            return
        timed_out = True
        if patience < seconds:
            self._let_go(task, cancel_at=ends_at)
            raise CallerDeadlineExceededError
        self._let_go(task, cancel_at=loop.time())
        raise DeadlineExceededError

    async def _run(self, ends_at: float, scope: Scope, receive: Receive, send: Send) -> None:
        # In the context of this task only: a pipelined request starts in the context of the one
        # before it (uvicorn).
        _ends_at.set(ends_at)
        await self._app(scope, receive, send)

    def _let_go(self, task: asyncio.Task[None], *, cancel_at: float) -> None:
        """Keep a task that nobody waits for, and cancel it at that time of the loop."""
        loop = asyncio.get_running_loop()
        if cancel_at <= loop.time():
            task.cancel()
        else:
            end = loop.call_at(cancel_at, task.cancel)
            task.add_done_callback(lambda _task: end.cancel())
        self._late.add(task)
        task.add_done_callback(self._forget)

    def _forget(self, task: asyncio.Task[None]) -> None:
        self._late.discard(task)
        if not task.cancelled():
            task.exception()  # what it would have said no longer has a reader

    @property
    def late_tasks(self) -> int:
        """How many requests are still at work or cleaning up although their caller has an answer."""
        return len(self._late)
