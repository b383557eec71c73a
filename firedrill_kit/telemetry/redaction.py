"""What a span may say when it leaves the process: names on a list, no text of exceptions.

The first line of defence is not to put secrets into attributes, and `traces.py` shows the tracing
middleware only the part of a request that may be recorded. This is the second, for what a library or
a new line of code adds; the collector's allow-list is the third.
"""

import re
from collections.abc import Callable, Sequence
from functools import lru_cache

from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.trace import Link, SpanContext, Status
from opentelemetry.util.types import Attributes, AttributeValue

ALLOWED = frozenset(
    {
        "http.request.method",
        "http.request.method_original",
        "http.request.resend_count",
        "http.response.status_code",
        "http.route",
        "url.full",
        "url.path",
        "url.scheme",
        "url.template",
        "network.protocol.name",
        "network.protocol.version",
        "server.address",
        "server.port",
        "user_agent.original",
        "user_agent.synthetic.type",
        "error.type",
        "exception.type",
        "db.system.name",
        "db.namespace",
        "db.collection.name",
        "db.operation.name",
        "db.query.summary",
        "db.query.text",
        "db.response.status_code",
        "db.client.connection.pool.name",
    }
)
OWN_NAMESPACE = "firedrill."

_CODE = re.compile(r"[a-z][a-z0-9_.]{0,63}|[0-9A-Z]{3,5}")
"""A status description that is a failure code or SQLSTATE; anything else may be a message."""
_LITERAL = re.compile(r"'(?:[^']|'')*'|\$(\w*)\$.*?\$\1\$", re.DOTALL)
MASKED = "[redacted]"
_SECRET = re.compile(
    r"passw|secret|token|authorization|cookie|api[-_.]?key|credential", re.IGNORECASE
)
_TEXTS = frozenset({"exception.message", "exception.stacktrace"})
_STATEMENTS = frozenset({"db.query.text", "db.statement"})


def redact(span: ReadableSpan) -> ReadableSpan:
    """Return the span itself when it may leave as it is, else a copy without the rest."""
    attributes = span.attributes or {}
    sql = attributes.get("db.query.text")
    if (
        all(map(_is_allowed, attributes))
        and _is_code(span.status)
        and (sql is None or without_literals(str(sql)) == sql)
        and all(_is_allowed(key) for event in span.events for key in event.attributes or ())
        and not any(link.attributes or link.context.trace_state for link in span.links)
    ):
        return span
    # Ids are all that a link is for here. The collector cannot reach the rest, and the trace state of a
    # caller who is not trusted is that caller's text.
    return _copy(
        span, _allowed, links=[Link(_ids_of(link.context)) for link in span.links], instead=None
    )


def mask(span: ReadableSpan) -> ReadableSpan:
    """Return the span without what must not leave, all other attributes kept.

    For an application whose own attributes nobody has listed. Values under names of secrets and texts of
    exceptions are masked, literals in statements replaced.
    """
    attributes = span.attributes or {}
    texts = [attributes, *(event.attributes or {} for event in span.events)]
    if _is_code(span.status) and not any(
        _is_to_be_masked(key) for found in texts for key in found
    ):
        return span
    return _copy(span, _masked, links=span.links, instead=MASKED)


def _copy(
    span: ReadableSpan,
    clean: Callable[[Attributes], dict[str, AttributeValue]],
    *,
    links: Sequence[Link],
    instead: str | None,
) -> ReadableSpan:
    """clean: of the attributes of the span and its events. instead: of a description that is no code."""
    status = span.status
    return ReadableSpan(
        name=span.name,
        context=span.context,
        parent=span.parent,
        resource=span.resource,
        attributes=clean(span.attributes),
        events=[
            Event(event.name, clean(event.attributes), event.timestamp) for event in span.events
        ],
        links=links,
        kind=span.kind,
        status=status if _is_code(status) else Status(status.status_code, instead),
        start_time=span.start_time,
        end_time=span.end_time,
        instrumentation_scope=span.instrumentation_scope,
    )


def _is_code(status: Status) -> bool:
    return status.description is None or _CODE.fullmatch(status.description) is not None


@lru_cache(maxsize=512)
def _is_to_be_masked(key: str) -> bool:
    if key.startswith(OWN_NAMESPACE):
        return False
    return key in _TEXTS or key in _STATEMENTS or _SECRET.search(key) is not None


def _masked(attributes: Attributes) -> dict[str, AttributeValue]:
    return {
        key: value
        if not _is_to_be_masked(key)
        else without_literals(str(value))
        if key in _STATEMENTS
        else MASKED
        for key, value in (attributes or {}).items()
    }


@lru_cache(maxsize=512)
def without_literals(sql: str) -> str:
    """Return the statement with quoted literals as `?`; bound parameters stay as they are."""
    return _LITERAL.sub("?", sql)


def _ids_of(context: SpanContext) -> SpanContext:
    return SpanContext(
        context.trace_id, context.span_id, context.is_remote, trace_flags=context.trace_flags
    )


@lru_cache(maxsize=512)
def _is_allowed(key: str) -> bool:
    return key in ALLOWED or key.startswith(OWN_NAMESPACE)


def _allowed(attributes: Attributes) -> dict[str, AttributeValue]:
    kept = {key: value for key, value in (attributes or {}).items() if _is_allowed(key)}
    if "db.query.text" in kept:
        kept["db.query.text"] = without_literals(str(kept["db.query.text"]))
    return kept
