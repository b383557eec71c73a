"""What a body may be, checked before anything parses it: its media type and its size."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service import failures, metrics
from service.failures import Failure
from service.routes import RouteSpec


class Bodies:
    """ASGI middleware behind authentication, so that an anonymous body is never read.

    max_bytes: the largest body; a larger declared one is refused unread, an undeclared one as soon as
    it has grown beyond. Raises Failure(UNSUPPORTED_MEDIA_TYPE | BODY_TOO_LARGE).
    """

    def __init__(self, app: ASGIApp, *, max_bytes: int) -> None:
        self._app = app
        self._max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        length = headers.get(b"content-length", b"")
        route: RouteSpec = scope["state"]["route"]
        expected = route.policy(scope["method"]).body
        has_body = b"transfer-encoding" in headers or length not in {b"", b"0"}
        media_type = headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
        if expected is not None and has_body and media_type != expected.encode():
            raise Failure(failures.UNSUPPORTED_MEDIA_TYPE)
        # The server has already refused lengths that are not numbers.
        if length.isdigit() and int(length) > self._max_bytes:
            raise _too_large()
        received = 0
        refusal: Failure | None = None

        async def counting_receive() -> Message:
            nonlocal received, refusal
            message = await receive()
            received += len(message.get("body", b""))
            if received > self._max_bytes:
                refusal = _too_large()
                raise refusal
            return message

        try:
            await self._app(scope, counting_receive, send)
        except Failure as failure:
            # FastAPI takes whatever reading a body raises for a body that cannot be parsed.
            if refusal is None or failure is refusal:
                raise
            raise refusal from failure


def _too_large() -> Failure:
    metrics.CONNECTIONS_ABORTED.labels("body_too_large").inc()
    return Failure(failures.BODY_TOO_LARGE, headers={"Connection": "close"})
