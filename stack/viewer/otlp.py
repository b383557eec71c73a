"""OTLP as it arrives, and spans as we show them. Pure: bytes in, values out."""

import math
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from google.protobuf.message import DecodeError
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from stack.viewer.envelope import opened

KEEP = "firedrill.trace.keep"
SPAN_BYTES = 1024 * 1024
REASONS = {
    "ids": "no valid trace or span id",
    "not_otlp": "no protobuf of its kind, or text that is not UTF-8",
    "times": "no start, or an end before it",
    "too_large": "larger than is kept",
}
"""Why one span or log line of a batch is refused, as its sender gets it."""
Refused = Counter[str]
"""How many items of a batch were refused, by a key of REASONS."""


class NotOtlp(Exception):
    """The body is not what it should be; the text says what is wrong and holds nothing of it."""


class TooLarge(Exception):
    """The body unpacks to more than is allowed."""


class Unusable(Exception):
    """One item of a batch cannot be kept. why: a key of REASONS."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


@dataclass(frozen=True, slots=True)
class ReceivedSpan:
    """A span as it waits and is stored: its ids, who sent it, and its bytes."""

    trace_id: str
    span_id: str
    service: str
    decides: bool
    """The trace is kept because of this span: it is marked, or it ended in an error."""
    content: bytes

    @property
    def size_bytes(self) -> int:
        return len(self.content) + 200  # the ids, the object, its place in a list


def unpack(body: bytes, encoding: str, limit_bytes: int) -> bytes:
    """Undo the content encoding. Raises NotOtlp, and TooLarge before the memory is used."""
    if encoding in {"", "identity"}:
        return body
    if encoding != "gzip":
        raise NotOtlp("content encoding: gzip or none")
    unpacker = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    try:
        unpacked = unpacker.decompress(body, limit_bytes + 1)
    except zlib.error as error:
        raise NotOtlp("the body is not gzip") from error
    if len(unpacked) > limit_bytes:
        raise TooLarge
    if not unpacker.eof:
        raise NotOtlp("the gzip stream is cut off")
    return unpacked


def read_spans(body: bytes) -> tuple[list[ReceivedSpan], Refused]:
    """The spans of an ExportTraceServiceRequest, and how many are refused, by reason. Raises NotOtlp."""
    spans: list[ReceivedSpan] = []
    refused: Refused = Counter()
    for resource, items in opened_batch(body):
        service = _service(resource)
        for content in items:
            try:
                spans.append(_received(service, content))
            except Unusable as error:
                refused[error.why] += 1
    return spans, refused


def opened_batch(body: bytes) -> Iterator[tuple[bytes, Iterator[bytes]]]:
    """Each resource of an export request, with its items as bytes. Raises NotOtlp."""
    try:
        return opened(body)
    except DecodeError as error:
        raise NotOtlp("the body is no export request in protobuf") from error


def said(refused: Refused) -> str:
    """What is wrong with those that were refused, for who sent them."""
    return "; ".join(f"{count} refused: {REASONS[why]}" for why, count in sorted(refused.items()))


def _service(resource: bytes) -> str:
    try:
        attributes = attributes_of(Resource.FromString(resource).attributes)
    except DecodeError:
        attributes = {}
    return str(attributes.get("service.name", "unknown"))


def _received(service: str, content: bytes) -> ReceivedSpan:
    """Raises Unusable."""
    if len(content) > SPAN_BYTES:
        raise Unusable("too_large")
    try:
        span = Span.FromString(content)
    except DecodeError as error:
        raise Unusable("not_otlp") from error
    if not is_id(span.trace_id, 16) or not is_id(span.span_id, 8):
        raise Unusable("ids")
    if not 0 < span.start_time_unix_nano <= span.end_time_unix_nano:
        raise Unusable("times")
    return ReceivedSpan(
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        service=service,
        decides=_decides(span),
        content=content,
    )


def is_id(given: bytes, length: int) -> bool:
    """Whether it is an id as OTLP has them: so many bytes, and not all of them zero."""
    return len(given) == length and any(given)


def _decides(span: Span) -> bool:
    if span.status.code == Status.STATUS_CODE_ERROR:
        return True
    return any(item.key == KEEP and item.value.bool_value for item in span.attributes)


def summary(content: bytes) -> dict[str, Any] | None:
    """What a list of traces shows, from the span that leads it; None for any other span.

    A SERVER span leads, or a root of our own work (`oauth.refresh`).
    """
    span = Span.FromString(content)
    if span.kind != Span.SPAN_KIND_SERVER and any(span.parent_span_id):
        return None
    attributes = attributes_of(span.attributes)
    return {
        "name": span.name,
        "start": _time(span.start_time_unix_nano),
        "duration_ms": _duration_ms(span),
        "http_route": attributes.get("http.route"),
        "status": attributes.get("http.response.status_code"),
        "code": attributes.get("firedrill.failure.code"),
    }


def shown(service: str, content: bytes) -> dict[str, Any]:
    """A stored span as JSON: times in UTC, enumerations by OpenTelemetry's names."""
    span = Span.FromString(content)
    fields: dict[str, Any] = {
        "span_id": span.span_id.hex(),
        "parent_span_id": span.parent_span_id.hex() if any(span.parent_span_id) else None,
        "name": span.name,
        "kind": _name(Span.SpanKind.Name, span.kind, "SPAN_KIND_"),
        "service": service,
        "start": _time(span.start_time_unix_nano),
        "duration_ms": _duration_ms(span),
        "status": _name(Status.StatusCode.Name, span.status.code, "STATUS_CODE_"),
        "attributes": attributes_of(span.attributes),
        "events": [
            {
                "name": event.name,
                "time": _time(event.time_unix_nano),
                "attributes": attributes_of(event.attributes),
            }
            for event in span.events
        ],
        "links": [
            {
                "trace_id": link.trace_id.hex(),
                "span_id": link.span_id.hex(),
                "attributes": attributes_of(link.attributes),
            }
            for link in span.links
        ],
    }
    if span.status.message:
        fields["status_message"] = span.status.message
    return fields


def _name(name_of: Callable[[Any], str], number: int, prefix: str) -> str | int:
    """What OpenTelemetry calls a value; the number itself where it has no name for it."""
    try:
        return name_of(number).removeprefix(prefix)
    except ValueError:
        return number


def attributes_of(items: Iterable[KeyValue]) -> dict[str, Any]:
    return {item.key: value_of(item.value) for item in items}


def value_of(value: AnyValue) -> Any:
    match value.WhichOneof("value"):
        case "array_value":
            return [value_of(item) for item in value.array_value.values]
        case "kvlist_value":
            return attributes_of(value.kvlist_value.values)
        case "bytes_value":
            return value.bytes_value.hex()
        case "double_value" if not math.isfinite(value.double_value):
            return str(value.double_value)  # JSON has no NaN
        case None:
            return None
        case name:
            return getattr(value, name)


def _time(unix_nano: int) -> str:
    seconds, nano = divmod(unix_nano, 1_000_000_000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{nano // 1000:06}Z"


def _duration_ms(span: Span) -> float:
    return round((span.end_time_unix_nano - span.start_time_unix_nano) / 1e6, 3)
