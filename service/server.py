"""The public HTTP server: uvicorn, with limits that it does not have.

uvicorn has no time limit for heads and bodies and httptools takes heads of 20 MB (measured: 50 of 50
slow clients alive after 20 s, 0 with this class); an answer that nobody reads stays in its buffer for ever.
Keep-alive and answers that take us long are not affected.
https://github.com/encode/uvicorn/issues/157
"""

import asyncio
import json
import re
from http import HTTPStatus
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from firedrill_kit import metrics as core_metrics
from firedrill_kit.telemetry.http import mark_disconnected
from firedrill_kit.telemetry.identity import uuid7
from firedrill_kit.telemetry.labels import UNMATCHED
from service import failures, metrics
from service.config import Config


class _HeadTooLargeError(Exception):
    """Ends the parsing; httptools hands it to uvicorn as a request that is not HTTP."""


class _HostInvalidError(Exception):
    """Ends the parsing of a request that does not say for whom it is."""


# RFC 3986 §3.2.2, without what only a decoder could judge; empty where there is no authority.
_HOST = re.compile(rb"(?:\[[0-9A-Fa-f:.]+\]|[\w.~!$&'()*+,;=%-]*)(?::[0-9]*)?", re.ASCII)

UNREAD_GRACE_SECONDS = 1.0
"""A body that the application waits for is answered by it; the connection is cut only if that fails, or
if nobody waits."""


class LimitedProtocol(HttpToolsProtocol):
    """Cuts connections whose head or body does not arrive, whose head is too large or answer not read."""

    limits: Config
    _timer: asyncio.TimerHandle | None = None
    _unread_timer: asyncio.TimerHandle | None = None
    _was_cut = False
    _in_head = True
    _head_bytes = 0
    """Bytes received of a head that has not ended."""
    _is_head_too_large = False

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._expect(self.limits.head_timeout_seconds, "slow_header")

    def connection_lost(self, exc: Exception | None) -> None:
        self._expect_nothing()
        self._expect_reader(None)
        if self._is_answering and not self._was_cut:
            mark_disconnected(self.cycle.scope)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        was_in_head = self._in_head
        super().data_received(data)
        # Of a header that has not ended the parser says nothing, so count what it has swallowed. A
        # head that began in the middle of these bytes is counted from the next ones on.
        if was_in_head and self._in_head and not self.transport.is_closing():
            self._head_bytes += len(data)
            if self._head_bytes > self.limits.head_bytes_max:
                self._refuse_head()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_head, self._head_bytes = True, 0
        self._expect(self.limits.head_timeout_seconds, "slow_header")

    def on_headers_complete(self) -> None:
        self._in_head = False
        head_bytes = len(self.url) + sum(len(name) + len(value) for name, value in self.headers)
        if head_bytes > self.limits.head_bytes_max:
            self._is_head_too_large = True
            raise _HeadTooLargeError
        # Proxies and servers differ in which of several counts (RFC 9112 §3.2).
        hosts = [value for name, value in self.headers if name == b"host"]
        is_needed = self.parser.get_http_version() != "1.0"
        if len(hosts) > 1 or (is_needed and not hosts) or not all(map(_HOST.fullmatch, hosts)):
            raise _HostInvalidError
        self._expect(self.limits.body_timeout_seconds + UNREAD_GRACE_SECONDS, "slow_body")
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        # Between requests the keep-alive timer of uvicorn is in charge.
        self._expect_nothing()
        super().on_message_complete()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._expect_reader(self.limits.answer_timeout_seconds)

    def resume_writing(self) -> None:
        self._expect_reader(None)
        super().resume_writing()

    def send_400_response(self, msg: str) -> None:
        """Answer what is not HTTP, or more of it than is taken; uvicorn's own text is no problem+json."""
        del msg
        if self._is_head_too_large:
            self._refuse_head()
            return
        self._answer_and_close(
            HTTPStatus.BAD_REQUEST,
            {
                "type": "about:blank",
                "title": "Bad Request",
                "detail": "Send HTTP/1.1 with one valid Host header.",
            },
        )

    def _refuse_head(self) -> None:
        mode = failures.HEADER_TOO_LARGE
        metrics.CONNECTIONS_ABORTED.labels("header_too_large").inc()
        core_metrics.FAILURES.labels(mode.code, UNMATCHED).inc()
        problem = {
            "type": f"/problems/{mode.code}",
            "title": mode.title,
            "code": mode.code,
            "detail": mode.detail,
        }
        self._answer_and_close(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, problem)

    def _answer_and_close(self, status: HTTPStatus, problem: dict[str, str]) -> None:
        """Answer for a request that never reaches the application."""
        self._expect_nothing()
        if self._is_answering:
            # Its caller would take this for the answer to the request before: let that be the last.
            self.cycle.keep_alive = False
            self.flow.pause_reading()
            return
        request_id = uuid7()
        body = json.dumps(
            {
                **problem,
                "status": status,
                "instance": f"urn:uuid:{request_id}",
                "request_id": request_id,
            }
        )
        head = (
            f"HTTP/1.1 {status.value} {status.phrase}\r\n"
            "content-type: application/problem+json\r\n"
            f"content-length: {len(body)}\r\n"
            f"x-request-id: {request_id}\r\n"
            "connection: close\r\n\r\n"
        )
        self.transport.write((head + body).encode())
        self.transport.close()

    @property
    def _is_answering(self) -> bool:
        cycle: RequestResponseCycle | None = self.cycle  # declared without the None it begins with
        return cycle is not None and not cycle.response_complete

    def _expect(self, seconds: float, why: str) -> None:
        self._expect_nothing()
        self._timer = self.loop.call_later(seconds, self._cut, seconds, why)

    def _expect_nothing(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _expect_reader(self, seconds: float | None) -> None:
        if self._unread_timer is not None:
            self._unread_timer.cancel()
            self._unread_timer = None
        if seconds is not None:
            self._unread_timer = self.loop.call_later(seconds, self._abort, "slow_reader")

    def _cut(self, seconds: float, why: str) -> None:
        if self.flow.read_paused:
            # It is we who do not read: a body larger than our buffer, or a request behind another.
            self._expect(seconds, why)
            return
        self._abort(why)

    def _abort(self, why: str) -> None:
        metrics.CONNECTIONS_ABORTED.labels(why).inc()
        self._was_cut = True
        self.transport.abort()


def limited_protocol(config: Config) -> type[HttpToolsProtocol]:
    """Return the protocol class with the limits of this config; uvicorn wants a class."""
    return type("ConfiguredProtocol", (LimitedProtocol,), {"limits": config})
