"""What a body may be, checked before anything parses it: its media type, its size, and how long it takes."""

import asyncio
import time
from collections.abc import Callable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from firedrill_kit.resilience.arrivals import Arrivals
from firedrill_kit.telemetry.record import RequestRecord
from service import failures, metrics
from service.failures import Failure
from service.routes import FORM, RouteSpec

FORM_BYTES_MAX = 16 * 1024
"""Who signs in is not known yet, and a form of 1 MiB of `&` takes 0.3 s of the event loop to parse."""
CLOSE = {"Connection": "close"}
"""Sent where the rest of a body is still to come: it must not be taken for the next request."""


class Bodies:
    """ASGI middleware: hands a request on when all of its body is there.

    Behind authentication, so that an anonymous body is never read; before deadline and admission, which
    are about our work and not about the caller's connection.
    max_bytes: the largest body, FORM_BYTES_MAX where a form is read; a larger declared one is refused
    unread, an undeclared one as soon as it has grown beyond. seconds: what a whole body may take.
    caller_of: whose budget it counts against.
    Raises Failure(UNSUPPORTED_MEDIA_TYPE | BODY_TOO_LARGE | SLOW_BODY | BODY_MALFORMED).
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        max_bytes: int,
        seconds: float,
        arrivals: Arrivals,
        caller_of: Callable[[Scope], str],
    ) -> None:
        self._app = app
        self._max_bytes = max_bytes
        self._seconds = seconds
        self._arrivals = arrivals
        self._caller_of = caller_of

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not self._is_wanted(scope):
            await self._app(scope, receive, send)
            return
        record: RequestRecord = scope["firedrill.record"]
        started = time.perf_counter()
        try:
            body: bytes | None = await self._whole(scope, receive)
        finally:
            record.body_seconds = time.perf_counter() - started

        async def replay() -> Message:
            nonlocal body
            if body is None:
                return await receive()
            message = {"type": "http.request", "body": body, "more_body": False}
            body = None
            return message

        await self._app(scope, replay, send)

    def _is_wanted(self, scope: Scope) -> bool:
        """Check what the head says of the body; False where there is none or nobody reads it."""
        headers = dict(scope["headers"])
        length = headers.get(b"content-length", b"")
        route: RouteSpec = scope["firedrill.route"]
        expected = route.policy(scope["method"]).body
        has_body = b"transfer-encoding" in headers or length not in {b"", b"0"}
        media_type = headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
        if expected is not None and has_body and media_type != expected.encode():
            raise Failure(failures.UNSUPPORTED_MEDIA_TYPE)
        # The server has already refused lengths that are not numbers.
        if length.isdigit() and int(length) > self._max_bytes_of(scope):
            raise _too_large()
        return expected is not None and has_body

    def _max_bytes_of(self, scope: Scope) -> int:
        route: RouteSpec = scope["firedrill.route"]
        is_form = route.policy(scope["method"]).body == FORM
        return min(self._max_bytes, FORM_BYTES_MAX) if is_form else self._max_bytes

    async def _whole(self, scope: Scope, receive: Receive) -> bytes:
        body = bytearray()
        most = self._max_bytes_of(scope)
        more = True
        try:
            async with asyncio.timeout(self._seconds) as limit:
                with self._arrivals.arriving(self._caller_of(scope), limit) as note:
                    while more:
                        message = await receive()
                        if message["type"] == "http.disconnect":
                            raise Failure(failures.BODY_MALFORMED, cause="disconnect")
                        part = message.get("body", b"")
                        body += part
                        note(len(part))
                        if len(body) > most:
                            raise _too_large()
                        more = message.get("more_body", False)
        except TimeoutError:
            metrics.CONNECTIONS_ABORTED.labels("slow_body").inc()
            raise Failure(failures.SLOW_BODY, headers=CLOSE) from None
        return bytes(body)


def _too_large() -> Failure:
    metrics.CONNECTIONS_ABORTED.labels("body_too_large").inc()
    return Failure(failures.BODY_TOO_LARGE, headers=CLOSE)
