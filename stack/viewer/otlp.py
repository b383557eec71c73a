"""OTLP as it arrives, and spans as we show them. Pure: bytes in, values out."""

import math
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

KEEP = "app.trace.keep"


class NotOtlp(Exception):
    """The body is not what it should be; the text says what is wrong and holds nothing of it."""


class TooLarge(Exception):
    """The body unpacks to more than is allowed."""


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


def read_spans(body: bytes) -> list[ReceivedSpan]:
    """The spans of an ExportTraceServiceRequest. Raises NotOtlp."""
    try:
        request = ExportTraceServiceRequest.FromString(body)
    except DecodeError as error:
        raise NotOtlp("the body is no ExportTraceServiceRequest in protobuf") from error
    return list(_spans(request))


def _spans(request: ExportTraceServiceRequest) -> Iterator[ReceivedSpan]:
    for resource in request.resource_spans:
        service = str(_attributes(resource.resource.attributes).get("service.name", "unknown"))
        for scope in resource.scope_spans:
            for span in scope.spans:
                if len(span.trace_id) != 16 or len(span.span_id) != 8:
                    raise NotOtlp("a span has no valid trace and span id")
                yield ReceivedSpan(
                    trace_id=span.trace_id.hex(),
                    span_id=span.span_id.hex(),
                    service=service,
                    decides=_decides(span),
                    content=span.SerializeToString(),
                )


def _decides(span: Span) -> bool:
    if span.status.code == Status.STATUS_CODE_ERROR:
        return True
    return any(item.key == KEEP and item.value.bool_value for item in span.attributes)


def summary(content: bytes) -> dict[str, Any] | None:
    """What a list of traces shows, from the span that leads it; None for any other span.

    A SERVER span leads, or a root of our own work (`oauth.refresh`).
    """
    span = Span.FromString(content)
    if span.kind != Span.SPAN_KIND_SERVER and span.parent_span_id:
        return None
    attributes = _attributes(span.attributes)
    return {
        "name": span.name,
        "start": _time(span.start_time_unix_nano),
        "duration_ms": _duration_ms(span),
        "http_route": attributes.get("http.route"),
        "status": attributes.get("http.response.status_code"),
        "code": attributes.get("app.failure.code"),
    }


def shown(service: str, content: bytes) -> dict[str, Any]:
    """A stored span as JSON: times in UTC, enumerations by OpenTelemetry's names."""
    span = Span.FromString(content)
    fields: dict[str, Any] = {
        "span_id": span.span_id.hex(),
        "parent_span_id": span.parent_span_id.hex() or None,
        "name": span.name,
        "kind": Span.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_"),
        "service": service,
        "start": _time(span.start_time_unix_nano),
        "duration_ms": _duration_ms(span),
        "status": Status.StatusCode.Name(span.status.code).removeprefix("STATUS_CODE_"),
        "attributes": _attributes(span.attributes),
        "events": [
            {
                "name": event.name,
                "time": _time(event.time_unix_nano),
                "attributes": _attributes(event.attributes),
            }
            for event in span.events
        ],
        "links": [
            {
                "trace_id": link.trace_id.hex(),
                "span_id": link.span_id.hex(),
                "attributes": _attributes(link.attributes),
            }
            for link in span.links
        ],
    }
    if span.status.message:
        fields["status_message"] = span.status.message
    return fields


def _attributes(items: Iterable[KeyValue]) -> dict[str, Any]:
    return {item.key: _value(item.value) for item in items}


def _value(value: AnyValue) -> Any:
    match value.WhichOneof("value"):
        case "array_value":
            return [_value(item) for item in value.array_value.values]
        case "kvlist_value":
            return _attributes(value.kvlist_value.values)
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
