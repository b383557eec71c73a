"""What a span is called and must carry, by its kind.

https://opentelemetry.io/docs/specs/semconv/http/http-spans/ and .../db/database-spans/
"""

from collections.abc import Iterable, Mapping
from typing import Any

from opentelemetry.sdk.trace import ReadableSpan

from firedrill_kit.telemetry.redaction import OWN_NAMESPACE
from tests.contracts.conventions import conventions

OWN_SPANS = frozenset(
    {
        "auth.verify",
        "calendar.sync",
        "canary",
        "csrf.verify",
        "db.commit",
        "db.connect",
        "db.pool.acquire",
        "oauth.lease.wait",
        "oauth.refresh",
        "schema.check",
        "settings.load",
    }
)
"""Spans of what happens inside: no convention names them."""

Attributes = Mapping[str, Any]


def faults_of(span: ReadableSpan) -> list[str]:
    """Return what is wrong with a span that has ended, its resource included; empty when nothing is."""
    events = [(event.name, event.attributes or {}) for event in span.events]
    return [
        *faults(span.name, span.kind.name, span.attributes or {}, events),
        *_faults_of_attributes(span.resource.attributes),
    ]


def faults(
    name: str, kind: str, attributes: Attributes, events: Iterable[tuple[str, Attributes]]
) -> list[str]:
    """kind: as the SDK and the viewer spell it."""
    found = [*_faults_of_attributes(attributes)]
    for event, of_event in events:
        # The conventions name one event of a span themselves.
        if event != "exception" and not event.startswith(OWN_NAMESPACE):
            found.append(f"event {event} is not {OWN_NAMESPACE}*")
        found += _faults_of_attributes(of_event)
    convention = _convention_of(kind, attributes)
    if convention:
        required = conventions().spans[convention].required
        found += [f"{one} is missing" for one in sorted(required - attributes.keys())]
        expected = {_expected_name(convention, attributes)}
    else:
        expected = set(OWN_SPANS)
    if name not in expected:
        found.append(f"called {name!r}, not {sorted(expected)}")
    return [f"span {name}: {fault}" for fault in found]


def _convention_of(kind: str, attributes: Attributes) -> str:
    if kind == "SERVER":
        return "http.server"
    if kind == "CLIENT":
        return "db.client" if "db.system.name" in attributes else "http.client"
    return ""


def _expected_name(convention: str, attributes: Attributes) -> str:
    if convention == "db.client":
        return str(attributes.get("db.query.summary"))
    method = attributes.get("http.request.method")
    target = attributes.get("http.route" if convention == "http.server" else "url.template")
    return f"{'HTTP' if method == '_OTHER' else method} {target}"


def _faults_of_attributes(attributes: Attributes) -> list[str]:
    return [
        fault
        for name, value in attributes.items()
        for fault in conventions().faults_of(name, value)
    ]
