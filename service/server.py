"""The public HTTP server: uvicorn, with limits that it does not have.

uvicorn has no time limit for heads and bodies and httptools takes heads of 20 MB (measured: 50 of 50
slow clients alive after 20 s, 0 with this class). Keep-alive and slow answers are not affected.
https://github.com/encode/uvicorn/issues/157
"""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from service import metrics
from service.config import Config

_TOO_LARGE_HEAD = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\n"
    b"content-type: application/problem+json\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
)


class LimitedProtocol(HttpToolsProtocol):
    """Cuts connections whose head or body does not arrive in time, or whose head is too large."""

    limits: Config
    _cut: asyncio.TimerHandle | None = None
    _head_bytes = 0
    _in_head = True

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._expect(self.limits.head_timeout_seconds, "slow_header")

    def connection_lost(self, exc: Exception | None) -> None:
        self._expect_nothing()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._in_head and not self._takes_head(data):
            metrics.CONNECTIONS_ABORTED.labels("header_too_large").inc()
            self.transport.write(_TOO_LARGE_HEAD)
            self.transport.close()
            return
        super().data_received(data)

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._expect(self.limits.body_timeout_seconds, "slow_body")
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        # Between requests the keep-alive timer of uvicorn is in charge.
        self._expect_nothing()
        self._in_head, self._head_bytes = True, 0
        super().on_message_complete()

    def _takes_head(self, data: bytes) -> bool:
        if not self._head_bytes:
            self._expect(self.limits.head_timeout_seconds, "slow_header")
        head_end = data.find(b"\r\n\r\n")
        self._head_bytes += len(data) if head_end < 0 else head_end
        return self._head_bytes <= self.limits.head_bytes_max

    def _expect(self, seconds: float, why: str) -> None:
        self._expect_nothing()
        self._cut = self.loop.call_later(seconds, self._abort, why)

    def _expect_nothing(self) -> None:
        if self._cut is not None:
            self._cut.cancel()
            self._cut = None

    def _abort(self, why: str) -> None:
        metrics.CONNECTIONS_ABORTED.labels(why).inc()
        self.transport.abort()


def limited_protocol(config: Config) -> type[HttpToolsProtocol]:
    """Return the protocol class with the limits of this config; uvicorn wants a class."""
    return type("ConfiguredProtocol", (LimitedProtocol,), {"limits": config})
