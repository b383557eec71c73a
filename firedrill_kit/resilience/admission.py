"""Admission: of each class no more at work than is answered in time, and a share of it for one caller.

A static limit of about three times the pool: measured at twice the capacity, other routes' p99 is 8 ms
with it and 48 ms without. A place is taken by work, never by waiting for the caller: not before the body is
there (`Place` stands behind `Bodies`), and no longer than until the answer starts. What is refused at the
`Door` costs neither authentication, database nor a span.
"""

import asyncio
import time
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from starlette.types import ASGIApp, Message, Receive, Scope, Send

IN_VAIN_SECONDS = 5.0
"""How long nobody waits for a place after one waited too long: a line is for what comes at once. Under three
times the capacity the p99 of a refusal is 0.8 s with it and with `_Class.coming`, 6.0 s without: each had
cost its span and its authentication."""


class OverloadedError(Exception):
    """Refused at admission: too many requests of all callers."""


class CallerBusyError(Exception):
    """Refused at admission: too many requests of this caller."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Of one class. at_work: requests at a time. of_caller: of those, at most for one caller.

    wait_seconds: how long a request may wait for a place; 0: it is refused at once. waiting,
    waiting_of_caller: how many may.
    """

    at_work: int
    of_caller: int
    wait_seconds: float = 0.0
    waiting: int = 0
    waiting_of_caller: int = 0


@dataclass(slots=True)
class _Class:
    """coming: admitted at the door and not yet where places are taken; a body may take its time there."""

    limits: Limits
    at_work: int = 0
    waiting: int = 0
    coming: int = 0
    in_vain_until: float = 0.0
    of_caller: Counter[str] = field(default_factory=Counter)
    turns: OrderedDict[str, deque[asyncio.Future[None]]] = field(default_factory=OrderedDict)

    @property
    def is_full(self) -> bool:
        return self.at_work >= self.limits.at_work

    def has_place_for(self, caller: str) -> bool:
        return not self.is_full and self.of_caller[caller] < self.limits.of_caller


class Admission:
    """The places of every class. on_change gets (class, at work now), on_shed (class).

    Callers wait in lines of their own, which are served in turn: a long line delays its own caller.
    """

    def __init__(
        self,
        limits: Mapping[str, Limits],
        *,
        on_change: Callable[[str, int], None] = lambda _name, _now: None,
        on_shed: Callable[[str], None] = lambda _name: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._classes = {name: _Class(each) for name, each in limits.items()}
        self._on_change = on_change
        self._on_shed = on_shed
        self._clock = clock

    def check(self, name: str) -> None:
        """Raise OverloadedError when no caller can get a place of the class.

        What has no body takes its place two rounds of the event loop later, since `Deadline` makes a task
        of it. Until then it counts as coming: a slow round lets in many at once.
        """
        found = self._classes[name]
        is_full = found.at_work + found.coming >= found.limits.at_work
        if is_full and not self._may_wait(found):
            raise self._overloaded(name)
        found.coming += 1
        loop = asyncio.get_running_loop()
        loop.call_soon(loop.call_soon, self._came, name)

    def _came(self, name: str) -> None:
        self._classes[name].coming -= 1

    async def enter(self, name: str, caller: str) -> None:
        """Take a place, after waiting for it where the class allows that; `leave` gives it back.

        Raises OverloadedError, CallerBusyError.
        """
        found = self._classes[name]
        if found.has_place_for(caller):
            self._take(name, caller)
            return
        is_own_doing = found.of_caller[caller] >= found.limits.of_caller
        line = found.turns.get(caller, ())
        if not self._may_wait(found) or len(line) >= found.limits.waiting_of_caller:
            raise CallerBusyError if is_own_doing else self._overloaded(name)
        try:
            await self._turn(name, caller)
        except TimeoutError:
            # With free places it waited for its own share, which may just have come free as well.
            if not found.is_full or found.of_caller[caller] >= found.limits.of_caller:
                raise CallerBusyError from None
            found.in_vain_until = self._clock() + IN_VAIN_SECONDS
            raise self._overloaded(name) from None

    def leave(self, name: str, caller: str) -> None:
        """Give a place back: to the next caller in turn who has not had its share."""
        found = self._classes[name]
        found.of_caller[caller] -= 1
        if not found.of_caller[caller]:
            del found.of_caller[caller]
        self._count(name, -1)
        while following := next((each for each in found.turns if found.has_place_for(each)), None):
            turn = found.turns[following].popleft()
            found.turns.move_to_end(following)
            self._forget(found, following)
            if not turn.done():  # else it has just given up
                self._take(name, following)
                turn.set_result(None)

    async def _turn(self, name: str, caller: str) -> None:
        found = self._classes[name]
        turn = asyncio.get_running_loop().create_future()
        found.turns.setdefault(caller, deque()).append(turn)
        found.waiting += 1
        try:
            async with asyncio.timeout(found.limits.wait_seconds):
                await turn
        except (TimeoutError, asyncio.CancelledError):
            if not turn.cancelled():  # its turn came in the moment that it gave up
                self.leave(name, caller)
            elif turn in found.turns.get(caller, ()):
                found.turns[caller].remove(turn)
                self._forget(found, caller)
            raise

    def _may_wait(self, found: _Class) -> bool:
        return found.waiting < found.limits.waiting and self._clock() >= found.in_vain_until

    def _forget(self, found: _Class, caller: str) -> None:
        """One waits no longer."""
        found.waiting -= 1
        if not found.turns[caller]:
            del found.turns[caller]

    def _take(self, name: str, caller: str) -> None:
        self._classes[name].of_caller[caller] += 1
        self._count(name, +1)

    def _count(self, name: str, change: int) -> None:
        found = self._classes[name]
        found.at_work += change
        self._on_change(name, found.at_work)

    def _overloaded(self, name: str) -> OverloadedError:
        self._on_shed(name)
        return OverloadedError()


class Door:
    """ASGI middleware: refuses what cannot be admitted, for every caller.

    class_of: the class of a scope, None: always admitted. Raises OverloadedError.
    """

    def __init__(
        self, app: ASGIApp, *, admission: Admission, class_of: Callable[[Scope], str | None]
    ) -> None:
        self._app = app
        self._admission = admission
        self._class_of = class_of

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        name = self._class_of(scope) if scope["type"] == "http" else None
        if name is not None:
            self._admission.check(name)
        await self._app(scope, receive, send)


class Place:
    """ASGI middleware: holds a place from here until the answer starts.

    Not until it is sent: how fast that goes is the caller's doing.
    caller_of: whose share the request counts against. Raises OverloadedError, CallerBusyError.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        admission: Admission,
        class_of: Callable[[Scope], str | None],
        caller_of: Callable[[Scope], str],
    ) -> None:
        self._app = app
        self._admission = admission
        self._class_of = class_of
        self._caller_of = caller_of

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        name = self._class_of(scope) if scope["type"] == "http" else None
        if name is None:
            await self._app(scope, receive, send)
            return
        caller = self._caller_of(scope)
        await self._admission.enter(name, caller)
        is_held = True

        def leave() -> None:
            nonlocal is_held
            if is_held:
                is_held = False
                self._admission.leave(name, caller)

        async def send_leaving(message: Message) -> None:
            leave()
            await send(message)

        try:
            await self._app(scope, receive, send_leaving)
        finally:
            leave()
