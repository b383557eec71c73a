"""What a request's span says of its end, written when the answer starts."""

from opentelemetry import trace

from firedrill_kit.telemetry.keep import Keep
from firedrill_kit.telemetry.labels import error_type_of
from firedrill_kit.telemetry.record import RequestRecord


def mark(record: RequestRecord, status: int, keep: Keep) -> None:
    """Decide whether the trace is kept, and copy the end of the request to its server span."""
    record.keep = keep.request(record, status)
    span = record.span
    if span is None or not span.is_recording():
        return
    attributes: dict[str, str | int] = {
        "http.response.status_code": status,
        "firedrill.trace.keep": record.keep,
    }
    if record.code:
        attributes["firedrill.failure.code"] = record.code
    if status >= 500:
        attributes["error.type"] = record.code or error_type_of(status)
        span.set_status(trace.Status(trace.StatusCode.ERROR, record.code or None))
    span.set_attributes(attributes)
    for item in record.validation_errors:
        span.add_event(
            "firedrill.validation_failed",
            {
                "firedrill.validation.field": item["loc"],
                "firedrill.validation.error_type": item["type"],
            },
        )
