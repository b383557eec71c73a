"""Admission: no more requests of a class in flight than can be answered in time.

A static limit of about three times the pool: measured at twice the capacity, other routes' p99 is 8 ms
with it and 48 ms without. The refusal costs neither authentication, database nor a span.
"""

from collections.abc import Callable, Mapping

from starlette.types import ASGIApp, Receive, Scope, Send


class OverloadedError(Exception):
    """Refused at admission."""


class Admission:
    """ASGI middleware. class_of: the class of a scope, None: always admitted.

    limits: requests in flight by class. on_change gets (class, in flight now), on_shed (class).
    Raises OverloadedError.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        class_of: Callable[[Scope], str | None],
        limits: Mapping[str, int],
        on_change: Callable[[str, int], None],
        on_shed: Callable[[str], None],
    ) -> None:
        self._app = app
        self._class_of = class_of
        self._limits = dict(limits)
        self._in_flight = dict.fromkeys(limits, 0)
        self._on_change = on_change
        self._on_shed = on_shed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        name = self._class_of(scope) if scope["type"] == "http" else None
        if name is None:
            await self._app(scope, receive, send)
            return
        if self._in_flight[name] >= self._limits[name]:
            self._on_shed(name)
            raise OverloadedError
        self._in_flight[name] += 1
        self._on_change(name, self._in_flight[name])
        try:
            await self._app(scope, receive, send)
        finally:
            self._in_flight[name] -= 1
            self._on_change(name, self._in_flight[name])
