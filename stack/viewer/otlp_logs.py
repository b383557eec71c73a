"""Log lines as the collector sends them: OTLP whose body is the JSON line as it was written."""

from collections import Counter

from google.protobuf.message import DecodeError
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord

from stack.viewer.logs import LINE_BYTES, as_line
from stack.viewer.otlp import Refused, Unusable, is_id, opened_batch, value_of


def read_lines(body: bytes) -> tuple[list[tuple[str, str]], Refused]:
    """The (trace id, line) pairs of an ExportLogsServiceRequest, and how many are refused, by reason.

    What has no trace is left out. Raises NotOtlp.
    """
    lines: list[tuple[str, str]] = []
    refused: Refused = Counter()
    for _, items in opened_batch(body):
        for content in items:
            try:
                found = _read(content)
            except Unusable as error:
                refused[error.why] += 1
            else:
                lines += [found] if found else []
    return lines, refused


def _read(content: bytes) -> tuple[str, str] | None:
    """Raises Unusable."""
    if len(content) > 2 * LINE_BYTES:  # before it is read
        raise Unusable("too_large")
    try:
        record = LogRecord.FromString(content)
    except DecodeError as error:
        raise Unusable("not_otlp") from error
    if not any(record.trace_id):
        return None  # OTLP: an id of zeros is none, and a line need not have one
    if not is_id(record.trace_id, 16):
        raise Unusable("ids")
    line = as_line(value_of(record.body))
    if len(line) > LINE_BYTES:
        raise Unusable("too_large")
    return record.trace_id.hex(), line
