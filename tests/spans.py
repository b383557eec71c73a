"""Spans and log records as they are exported: complete ones, changed where a test says so."""

from collections.abc import Iterable
from typing import Any

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue, KeyValueList
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, ResourceLogs, ScopeLogs
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span, Status

TRACE, OTHER = "a" * 32, "b" * 32
PROTOBUF = {"content-type": "application/x-protobuf"}


def any_value(value: object) -> AnyValue:
    match value:
        case list():
            return AnyValue(array_value=ArrayValue(values=map(any_value, value)))
        case dict():
            return AnyValue(kvlist_value=KeyValueList(values=attributes(value)))
        case None:
            return AnyValue()
    kinds = {bool: "bool_value", int: "int_value", float: "double_value", str: "string_value"}
    made = AnyValue()
    setattr(made, kinds[type(value)], value)
    return made


def attributes(values: dict[str, Any]) -> list[KeyValue]:
    return [KeyValue(key=key, value=any_value(value)) for key, value in values.items()]


def span(
    number: int = 1,
    *,
    began: float,
    trace_id: str = TRACE,
    parent: int | None = 99,
    keep: bool = False,
    error: bool = False,
    more: dict[str, Any] | None = None,
) -> Span:
    """A span of 1.5 ms. began: seconds since the epoch. keep: the marked root of a request.

    more: attributes of its own.
    """
    marks = {"http.route": "/api/v1/profile", **({"firedrill.trace.keep": True} if keep else {})}
    return Span(
        trace_id=bytes.fromhex(trace_id),
        span_id=number.to_bytes(8, "big"),
        parent_span_id=b"" if keep or parent is None else parent.to_bytes(8, "big"),
        name=f"span {number}",
        kind=Span.SPAN_KIND_SERVER if keep else Span.SPAN_KIND_CLIENT,
        start_time_unix_nano=int(began * 1e9),
        end_time_unix_nano=int(began * 1e9) + 1_500_000,
        attributes=attributes(marks | (more or {})),
        status=Status(code=Status.STATUS_CODE_ERROR if error else Status.STATUS_CODE_UNSET),
    )


def span_request(*spans: Span) -> bytes:
    resource = ResourceSpans(
        resource=Resource(attributes=attributes({"service.name": "api"})),
        scope_spans=[ScopeSpans(spans=spans)],
    )
    content: bytes = ExportTraceServiceRequest(resource_spans=[resource]).SerializeToString()
    return content


def record(body: object, trace_id: str = TRACE) -> LogRecord:
    return LogRecord(body=any_value(body), trace_id=bytes.fromhex(trace_id))


def log_request(*records: LogRecord) -> bytes:
    resource = ResourceLogs(scope_logs=[ScopeLogs(log_records=records)])
    content: bytes = ExportLogsServiceRequest(resource_logs=[resource]).SerializeToString()
    return content


def spelled(one: Span) -> dict[str, Any]:
    """A span without what differs from one run to the next."""
    return {
        "name": one.name,
        "kind": one.kind,
        "attributes": {
            item.key: item.value.SerializeToString(deterministic=True) for item in one.attributes
        },
        "events": [
            (
                event.name,
                {
                    item.key: item.value.SerializeToString(deterministic=True)
                    for item in event.attributes
                },
            )
            for event in one.events
        ],
        "links": [
            (
                link.trace_id,
                link.flags,
                {item.key: item.value.string_value for item in link.attributes},
            )
            for link in one.links
        ],
        "status": (one.status.code, one.status.message),
        "trace_state": one.trace_state,
        "flags": one.flags,
        "dropped": (one.dropped_events_count, one.dropped_links_count),
        "has_parent": bool(one.parent_span_id),
    }


def _spelled(pairs: Iterable[KeyValue]) -> dict[str, bytes]:
    return {item.key: item.value.SerializeToString(deterministic=True) for item in pairs}
