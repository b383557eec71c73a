"""Log lines as the collector sends them: OTLP whose body is the JSON line as it was written."""

import orjson
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from stack.viewer.otlp import NotOtlp


def read_lines(body: bytes) -> list[tuple[str, str]]:
    """The (trace id, line) pairs of an ExportLogsServiceRequest; what has no trace is left out.

    A body that is no JSON object becomes one, as the text of an event. Raises NotOtlp.
    """
    try:
        request = ExportLogsServiceRequest.FromString(body)
    except DecodeError as error:
        raise NotOtlp("the body is no ExportLogsServiceRequest in protobuf") from error
    return [
        (record.trace_id.hex(), _line(record.body.string_value))
        for resource in request.resource_logs
        for scope in resource.scope_logs
        for record in scope.log_records
        if len(record.trace_id) == 16
    ]


def _line(text: str) -> str:
    try:
        is_object = isinstance(orjson.loads(text), dict)
    except orjson.JSONDecodeError:
        is_object = False
    return text if is_object else orjson.dumps({"event": text}).decode()
