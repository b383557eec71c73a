"""What a span may say when it leaves the process: names on a list, no text of exceptions.

The first line of defence is not to put secrets into attributes, and `traces.py` shows the tracing
middleware only the part of a request that may be recorded. This is the second, for what a library or
a new line of code adds; the collector's allow-list is the third.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

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


Clean = Callable[[Any], AttributeValue]


@dataclass(frozen=True)
class Rule:
    """What leaves of a value. clean: returns it; None, the value as it is."""

    clean: Clean | None = None


AS_IT_IS = Rule()


@dataclass(frozen=True)
class Policy:
    """What may leave of a span. Called with one, returns it, or a copy without the rest.

    rule: of a key; None, the attribute stays here. instead: of a status description that is no code.
    bare_links: whether of a link only its ids leave.
    """

    rule: Callable[[str], Rule | None]
    instead: str | None
    bare_links: bool

    def __call__(self, span: ReadableSpan) -> ReadableSpan:
        attributes = self.attributes(span.attributes)
        events = [
            Event(event.name, self.attributes(event.attributes), event.timestamp)
            for event in span.events
        ]
        links = [self.link(link.context, link.attributes) for link in span.links]
        description = self.description(span.status.description)
        if (
            attributes == dict(span.attributes or {})
            and description == span.status.description
            and [event.attributes for event in events]
            == [dict(event.attributes or {}) for event in span.events]
            and [
                (link.context, link.context.trace_state, dict(link.attributes or {}))
                for link in links
            ]
            == [
                (link.context, link.context.trace_state, dict(link.attributes or {}))
                for link in span.links
            ]
        ):
            return span
        return ReadableSpan(
            name=span.name,
            context=span.context,
            parent=span.parent,
            resource=span.resource,
            attributes=attributes,
            events=events,
            links=links,
            kind=span.kind,
            status=Status(span.status.status_code, description),
            start_time=span.start_time,
            end_time=span.end_time,
            instrumentation_scope=span.instrumentation_scope,
        )

    def attributes(self, attributes: Attributes) -> dict[str, AttributeValue]:
        left = {}
        for key, value in (attributes or {}).items():
            rule = self.rule(key)
            if rule is not None:
                left[key] = rule.clean(value) if rule.clean else value
        return left

    def description(self, text: str | None) -> str | None:
        return text if text is None or _CODE.fullmatch(text) else self.instead

    def link(self, context: SpanContext, attributes: Attributes) -> Link:
        """The trace state of a stranger is the stranger's text, and no collector reaches it."""
        if not self.bare_links:
            return Link(context, self.attributes(attributes))
        ids = SpanContext(
            context.trace_id, context.span_id, context.is_remote, trace_flags=context.trace_flags
        )
        return Link(ids)


@lru_cache(maxsize=512)
def without_literals(sql: str) -> str:
    """Return the statement with quoted literals as `?`; bound parameters stay as they are."""
    return _LITERAL.sub("?", sql)


_STATEMENT, _SECRET_VALUE = Rule(lambda sql: without_literals(str(sql))), Rule(lambda _: MASKED)


def _listed(key: str) -> Rule | None:
    if key == "db.query.text":
        return _STATEMENT
    return AS_IT_IS if key in ALLOWED or key.startswith(OWN_NAMESPACE) else None


def _unlisted(key: str) -> Rule | None:
    if key.startswith(OWN_NAMESPACE):
        return AS_IT_IS
    if key in _STATEMENTS:
        return _STATEMENT
    return _SECRET_VALUE if key in _TEXTS or _SECRET.search(key) else AS_IT_IS


redact = Policy(_listed, instead=None, bare_links=True)
"""Only what is listed leaves."""
mask = Policy(_unlisted, instead=MASKED, bare_links=False)
"""For an application whose own attributes nobody has listed: all of them leave, but values under names of
secrets and texts of exceptions are masked, literals in statements replaced."""
