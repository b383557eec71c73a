"""The names of log fields: code says `reason=`, the line says `firedrill.reason`.

The OpenTelemetry conventions want a namespace in each name of an attribute, so that the lines of all
programs can be searched together: the registry's where it has the field, else our own.
"""

from functools import cache

from firedrill_kit.telemetry.redaction import OWN_NAMESPACE

DATA_MODEL = frozenset({"timestamp", "level", "event", "trace_id", "span_id"})
"""Fields that are no attributes: the log data model has its own for them, and the collector reads them.
https://opentelemetry.io/docs/specs/otel/compatibility/logging_trace_context/"""

REGISTERED = {
    "service": "service.name",
    "version": "service.version",
    "instance": "service.instance.id",
    "env": "deployment.environment.name",
    "logger": "otel.scope.name",
    "http_route": "http.route",
    "method": "http.request.method",
    "status": "http.response.status_code",
    "error_type": "error.type",
    "exception_type": "exception.type",
    "exception": "exception.stacktrace",
    "sqlstate": "db.response.status_code",
    "port": "server.port",
    "url": "url.full",
    "code": "firedrill.failure.code",  # as on the span
}
"""Names in code for what the registry has, or the spans."""


@cache  # the names stand in the code: a closed set
def field_name(name: str) -> str:
    """Return the name on the wire; one with a namespace stays as it is."""
    if name in DATA_MODEL or "." in name:
        return name
    return REGISTERED.get(name, f"{OWN_NAMESPACE}{name}")
