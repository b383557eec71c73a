"""What is known about the request being answered: one mutable record that every layer adds to.

The canonical log line, the histogram sample and the span are made of it at the end. It travels in a
ContextVar, so tasks and greenlets of the request see the same object.
"""

import time
from contextvars import ContextVar, Token
from typing import Any

from opentelemetry.trace import Span

KEEP_POOL_WAIT_SECONDS = 0.05
"""A request that waited longer than this for a connection has its trace kept."""

FieldValue = str | int | float | bool | None


class RequestRecord:
    """One request. Times are seconds; `started` is `time.perf_counter()`.

    What is as in most requests stays in the class: storing 35 fields took 2 µs, these 6 take 0.5.
    """

    method: str
    route: str
    started: float
    request_id: str = ""
    client_request_id: str = ""
    user_agent: bytes = b""
    parents: tuple[bytes, ...] = ()
    """Every `traceparent` of the request."""
    trace_id: str = ""
    span_id: str = ""
    span: Span | None = None
    """Its server span."""
    ends_span: bool = False
    """Whether `Edge` ends the span with the answer; the official middleware does so itself."""
    status: int = 0
    code: str = ""
    """The failure mode's code; empty when all went well."""
    cause: str = ""
    blame: str = ""
    seen_failure: tuple[str, str] = ("", "")
    """Code and cause of the last error that was seen on its way, whatever became of it."""
    caller: str = ""
    """A keyed hash of the account id, never the id."""
    token_format: str = ""
    client_version: str = ""
    load_run: str = ""
    body_seconds: float = 0.0
    """How long its body took to arrive: the caller's time, part of no duration."""
    pool_wait_seconds: float = 0.0
    db_seconds: float = 0.0
    db_statements: int = 0
    upstream_seconds: float = 0.0
    degraded: tuple[str, ...] = ()
    stage: str = "admission"
    """What it is doing now: admission, auth, pool, database, upstream or render."""
    keep: bool = False
    """Whether its trace is kept; decided once, when the answer starts."""
    shed: bool = False
    """Whether admission refused it."""
    disconnected: bool = False
    """Whether the caller left before the answer was complete."""
    validation_errors: list[dict[str, str]]
    """Of a 422: `loc`, as the contract calls it, and `type` of each error; never a value."""
    fields: dict[str, FieldValue]
    """More fields for the canonical line, from a fixed vocabulary."""

    def __init__(self, method: str, route: str, started: float | None = None, **more: Any) -> None:
        """more: of the fields below."""
        self.method = method
        self.route = route
        self.started = time.perf_counter() if started is None else started
        self.validation_errors = []
        self.fields = {}
        for name, value in more.items():
            setattr(self, name, value)

    def seconds(self, now: float) -> float:
        """How long it has been with us at this time of `time.perf_counter()`."""
        return now - self.started - self.body_seconds


_current: ContextVar[RequestRecord | None] = ContextVar("request_record", default=None)


def current() -> RequestRecord | None:
    """Return the record of the request this code works for, None outside any."""
    return _current.get()


def begin(record: RequestRecord) -> Token[RequestRecord | None]:
    """Make the record current for this task and what it starts; give the token to `end`."""
    return _current.set(record)


def end(token: Token[RequestRecord | None]) -> None:
    """Make current what was before `begin`."""
    _current.reset(token)


def enter_stage(stage: str) -> None:
    """Say what the running request is doing from here on; nothing outside a request."""
    record = _current.get()
    if record is not None:
        record.stage = stage
