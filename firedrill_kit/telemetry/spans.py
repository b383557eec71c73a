"""Spans of the OpenTelemetry API without the SDK: plain objects, which are bytes once they have ended.

A span of the SDK takes 12 µs and its encoding 42 (measured); this one 4 and 4. It has no processors and no
sampler: every span is recorded, and the collector keeps what `firedrill.trace.keep` says. Its bytes are what
the garbage collector never looks at: live spans in the queue made its pauses 130 ms (measured).
"""

import logging
from collections.abc import Mapping
from struct import Struct
from time import time_ns
from types import TracebackType
from typing import TYPE_CHECKING, Any

from opentelemetry import trace
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.trace import Link, SpanContext, Status, StatusCode, TraceFlags
from opentelemetry.trace.span import TraceState
from opentelemetry.util.types import Attributes, AttributeValue

from firedrill_kit.telemetry import otlp
from firedrill_kit.telemetry.identity import random_bits
from firedrill_kit.telemetry.otlp import Encoder, Template

if TYPE_CHECKING:
    from firedrill_kit.telemetry.provider import RecordingTracer

ROOT_FLAGS = TraceFlags.SAMPLED | getattr(TraceFlags, "RANDOM_TRACE_ID", 0)

_TIMES = Struct("<BQBQ").pack
_START, _END = 7 << 3 | 1, 8 << 3 | 1
_EVENT_TIME = Struct("<BQ").pack
_LOCAL_PARENT, _REMOTE_PARENT = b"\x85\x01\x00\x01\x00\x00", b"\x85\x01\x00\x03\x00\x00"
_NO_STATE = TraceState()
_UNSET = Status(StatusCode.UNSET)
SCALARS = frozenset({str, bool, int, float})
_log = logging.getLogger(__name__)


class RecordedSpan(trace.Span):
    """One span. template: what it shares with others; its own attributes win.

    Ids are bytes, times nanoseconds since the epoch. What most spans have none of stays in the class.
    """

    end_time: int | None = None
    _status = _UNSET
    _state = _NO_STATE
    _parent: bytes | SpanContext | None = None
    """Id of a recorded span, else a context. Not the span: each keeps its own parent, without an end
    in a task that starts its successor."""
    _renamed: str | None = None
    _context: SpanContext | None = None
    _events: list[tuple[str, dict[str, Any], int, int]] | None = None
    """Name, attributes, time, and how many attributes did not fit."""
    _links: list[tuple[SpanContext, dict[str, Any], int]] | None = None
    _dropped: dict[str, int] | None = None

    def __init__(
        self,
        tracer: "RecordingTracer",
        template: Template,
        parent: trace.Span,
        attributes: dict[str, Any],
        start_time: int | None = None,
    ) -> None:
        """attributes: of scalars, and the span's own from now on."""
        self._tracer = tracer
        self._template = template
        self._attributes = attributes
        if parent is trace.INVALID_SPAN:
            # An id of zeros is none; the SDK draws again as well.
            self.trace_id, self._flags = (random_bits(128) or 1).to_bytes(16), ROOT_FLAGS
        elif type(parent) is RecordedSpan:
            self._parent = parent.span_id
            self.trace_id, self._flags = parent.trace_id, parent._flags  # noqa: SLF001
            if parent._state:  # noqa: SLF001
                self._state = parent._state  # noqa: SLF001
        else:
            self._continue(parent.get_span_context())
        self.span_id: bytes = (random_bits(64) or 1).to_bytes(8)
        self.start_time = time_ns() if start_time is None else start_time

    def _continue(self, context: SpanContext) -> None:
        if not context.is_valid:
            self.trace_id, self._flags = (random_bits(128) or 1).to_bytes(16), ROOT_FLAGS
            return
        self._parent = context
        self.trace_id = context.trace_id.to_bytes(16)
        self._flags = TraceFlags.SAMPLED | context.trace_flags
        self._state = context.trace_state

    def get_span_context(self) -> SpanContext:
        context = self._context
        if context is None:
            context = self._context = self._context_of(self.span_id)
        return context

    def _context_of(self, span_id: bytes) -> SpanContext:
        return SpanContext(
            int.from_bytes(self.trace_id),
            int.from_bytes(span_id),
            is_remote=False,
            trace_flags=TraceFlags(self._flags),
            trace_state=self._state,
        )

    @property
    def name(self) -> str:
        return self._template.name if self._renamed is None else self._renamed

    def is_recording(self) -> bool:
        return self.end_time is None

    def set_attribute(self, key: str, value: AttributeValue) -> None:
        self.set_attributes({key: value})

    def set_attributes(self, attributes: Mapping[str, AttributeValue]) -> None:
        if self.end_time is not None:
            self._is_open()
            return
        own = self._attributes
        for key, value in attributes.items():
            if type(value) in SCALARS and type(key) is str and key:
                own[key] = value
            else:
                cleaned, dropped = otlp.bounded({key: value})
                own |= cleaned
                self._drop("attributes", dropped)
        most = self._tracer.limits.max_span_attributes
        while most is not None and len(own) > most:
            del own[next(iter(own))]
            self._drop("attributes", 1)

    def add_event(
        self, name: str, attributes: Attributes = None, timestamp: int | None = None
    ) -> None:
        if self._is_open():
            limits = self._tracer.limits
            kept, dropped = otlp.bounded(attributes, limits.max_event_attributes)
            at = time_ns() if timestamp is None else timestamp
            self._events = self._events or []
            self._events.append((name, kept, at, dropped))
            self._cap(self._events, limits.max_events, "events")

    def add_link(self, context: SpanContext, attributes: Attributes = None) -> None:
        if not (context.is_valid or attributes or context.trace_state):
            return
        if self._is_open():
            limits = self._tracer.limits
            kept, dropped = otlp.bounded(attributes, limits.max_link_attributes)
            self._links = self._links or []
            self._links.append((context, kept, dropped))
            self._cap(self._links, limits.max_links, "links")

    def update_name(self, name: str) -> None:
        if self._is_open():
            self._renamed = name

    def set_status(self, status: Status | StatusCode, description: str | None = None) -> None:
        if isinstance(status, StatusCode):
            status = Status(status, description)
        # As the specification has it: OK is final, and nothing is unset again.
        if (
            self._is_open()
            and self._status.status_code is not StatusCode.OK
            and not status.is_unset
        ):
            self._status = status

    def record_exception(
        self,
        exception: BaseException,
        attributes: Attributes = None,
        timestamp: int | None = None,
        escaped: bool = False,  # noqa: ARG002, FBT001, FBT002 - the API's
    ) -> None:
        """Record what leaves of an exception: its type. Texts and stacks hold values."""
        kind = type(exception)
        module = kind.__module__
        name = kind.__qualname__ if module in {"", "builtins"} else f"{module}.{kind.__qualname__}"
        self.add_event("exception", {"exception.type": name, **(attributes or {})}, timestamp)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace_back: TracebackType | None,
    ) -> None:
        if error is not None and self.is_recording():
            self.record_exception(error)
            self.set_status(StatusCode.ERROR)
        super().__exit__(kind, error, trace_back)

    def end(self, end_time: int | None = None) -> None:
        if self.end_time is None:
            self.end_time = time_ns() if end_time is None else end_time
            self._tracer.ended(self)

    def encoded(self, encoder: Encoder) -> bytes:
        """Return the span as a message of OTLP."""
        own, template, renamed = self._attributes, self._template, self._renamed
        shared = template.encoded
        most = self._tracer.limits.max_span_attributes
        if shared and (
            not own.keys().isdisjoint(template.attributes)
            or (most is not None and len(own) + len(template.attributes) > most)
        ):
            own, dropped = otlp.bounded({**template.attributes, **own}, most)
            self._drop("attributes", dropped)
            shared = b""
        parent = self._parent
        flags, parent_field = _LOCAL_PARENT, b""
        if isinstance(parent, bytes):
            parent_field = otlp.PARENT_ID + parent
        elif parent is not None:
            parent_field = otlp.PARENT_ID + parent.span_id.to_bytes(8)
            flags = _REMOTE_PARENT if parent.is_remote else _LOCAL_PARENT
        status = self._status
        return b"".join(
            (
                otlp.TRACE_ID,
                self.trace_id,
                otlp.SPAN_ID,
                self.span_id,
                parent_field,
                template.head if renamed is None else otlp.head(renamed, template.kind),
                _TIMES(_START, self.start_time, _END, self.end_time),
                shared,
                encoder.attributes(own),
                otlp.NO_STATUS if status is _UNSET else _status(status, encoder),
                flags,
                self._rest(encoder)
                if self._events or self._links or self._dropped or self._state
                else b"",
            )
        )

    def readable(self) -> ReadableSpan:
        """Return the span as the SDK would show it, for watchers."""
        parent = self._parent
        return ReadableSpan(
            name=self.name,
            context=self.get_span_context(),
            parent=self._context_of(parent) if isinstance(parent, bytes) else parent,
            resource=self._tracer.resource,
            attributes=otlp.bounded({**self._template.attributes, **self._attributes})[0],
            events=[Event(*one[:3]) for one in self._events or ()],
            links=tuple(Link(*one[:2]) for one in self._links or ()),
            kind=self._template.kind,
            status=self._status,
            start_time=self.start_time,
            end_time=self.end_time,
            instrumentation_scope=self._tracer.scope,
        )

    def _rest(self, encoder: Encoder) -> bytes:
        """Return what few spans have: trace state, events, links, and what did not fit."""
        parts = []
        if self._state:
            state = ",".join(f"{key}={value}" for key, value in self._state.items())
            parts.append(otlp.TRACE_STATE + otlp.text(state))
        for name, attributes, nanoseconds, dropped in self._events or ():
            body = _EVENT_TIME(0x09, nanoseconds) + b"\x12" + otlp.text(name)
            body += encoder.attributes(attributes, otlp.EVENT_ATTRIBUTE)
            if dropped:
                body += b"\x20" + otlp.varint(dropped)
            parts.append(otlp.EVENT + otlp.sized(body))
        parts += [otlp.LINK + otlp.sized(_link(*link, encoder)) for link in self._links or ()]
        for what, count in (self._dropped or {}).items():
            parts.append(_DROPPED[what] + otlp.varint(count))
        return b"".join(parts)

    def _is_open(self) -> bool:
        if self.end_time is None:
            return True
        _log.warning("span %s has ended already", self.name)
        return False

    def _drop(self, what: str, count: int) -> None:
        if count:
            self._dropped = self._dropped or {}
            self._dropped[what] = self._dropped.get(what, 0) + count

    def _cap(self, items: list[Any], most: int | None, what: str) -> None:
        if most is not None and len(items) > most:
            del items[0]
            self._drop(what, 1)


_DROPPED = {"attributes": b"\x50", "events": b"\x60", "links": b"\x70"}


def _status(status: Status, encoder: Encoder) -> bytes:
    description = encoder.policy.description(status.description)
    message = b"\x12" + otlp.text(description) if description else b""
    return b"\x7a" + otlp.sized(message + b"\x18" + otlp.varint(status.status_code.value))


def _link(
    context: SpanContext, attributes: dict[str, Any], dropped: int, encoder: Encoder
) -> bytes:
    ids = (
        otlp.TRACE_ID + context.trace_id.to_bytes(16) + otlp.SPAN_ID + context.span_id.to_bytes(8)
    )
    flags = b"\x35\x00\x03\x00\x00" if context.is_remote else b"\x35\x00\x01\x00\x00"
    if encoder.policy.bare_links:
        return ids + flags
    count = b"\x28" + otlp.varint(dropped) if dropped else b""
    return ids + encoder.attributes(attributes, otlp.LINK_ATTRIBUTE) + count + flags
