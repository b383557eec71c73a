"""The API over our own record against the SDK: whatever a span is given leaves as the SDK would send it."""

import math
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanLimits, TracerProvider
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    StatusCode,
    TraceFlags,
    TraceState,
    set_span_in_context,
)

from firedrill_kit.telemetry import otlp
from firedrill_kit.telemetry.export import Tap
from firedrill_kit.telemetry.otlp import ATTRIBUTE_LENGTH_MAX, Encoder
from firedrill_kit.telemetry.provider import RecordingProvider
from firedrill_kit.telemetry.redaction import Policy, mask, redact
from tests.spans import spelled

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
KEYS = TEXTS | st.sampled_from(
    ["http.route", "db.query.text", "firedrill.x", "user.password", "k"]
)
SCALARS = st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | TEXTS
VALUES: st.SearchStrategy[object] = st.one_of(
    SCALARS,
    st.lists(SCALARS, max_size=3),
    st.binary(max_size=3),
    st.none(),
    st.dictionaries(st.text("abc", min_size=1, max_size=3), SCALARS, max_size=2),
)
ATTRIBUTES = st.dictionaries(KEYS, VALUES, max_size=8)
LIMITS = SpanLimits(
    max_span_attributes=5,
    max_events=2,
    max_links=2,
    max_event_attributes=2,
    max_link_attributes=2,
    max_attribute_length=ATTRIBUTE_LENGTH_MAX,
    max_span_attribute_length=ATTRIBUTE_LENGTH_MAX,
)
RESOURCE = Resource({"service.name": "shop"})
REMOTE = SpanContext(7 << 100, 9 << 30, True, TraceFlags(1), TraceState([("vendor", "x")]))


class _Collected(list[bytes]):
    """Where a queue is asked for."""

    put = list.append


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from([redact, mask]),
    TEXTS,
    st.sampled_from(list(SpanKind)),
    ATTRIBUTES,
    st.lists(st.tuples(TEXTS, ATTRIBUTES), max_size=3),
    st.lists(ATTRIBUTES, max_size=3),
    st.sampled_from(
        [None, (StatusCode.OK, None), (StatusCode.ERROR, "db_timeout"), (StatusCode.ERROR, "a b")]
    ),
    st.booleans(),
)
def test_whatever_the_api_is_given_leaves_as_the_sdk_would_send_it(
    policy: Policy,
    name: str,
    kind: SpanKind,
    attributes: Any,
    events: Any,
    links: Any,
    status: Any,
    is_remote: bool,
) -> None:
    collected: Any = _Collected()
    ours = RecordingProvider(
        resource=RESOURCE, limits=LIMITS, encoder=Encoder(policy), queue=collected, tap=Tap()
    )
    official = TracerProvider(resource=RESOURCE, span_limits=LIMITS, shutdown_on_exit=False)
    sent: list[Span] = []
    for provider in (ours, official):
        context = set_span_in_context(NonRecordingSpan(REMOTE)) if is_remote else None
        active = provider.get_tracer("shop").start_span(
            name, context, kind, attributes, [Link(REMOTE, one) for one in links], 1_000
        )
        for event, more in events:
            active.add_event(event, more, 1_500)
        if status is not None:
            active.set_status(*status)
        active.end(2_000)
        if provider is official:
            assert isinstance(active, ReadableSpan)
            message = encode_spans([policy(active._readable_span())])  # type: ignore[attr-defined]
        else:
            resource, _ = otlp.envelope(RESOURCE, ours.get_tracer("shop").scope)
            message = ExportTraceServiceRequest.FromString(otlp.request(resource, collected))
        assert message.resource_spans[0].resource.attributes[0].key == "service.name"
        sent.append(message.resource_spans[0].scope_spans[0].spans[0])

    mine, theirs = map(spelled, sent)
    # The policy makes a new span, which forgets what the SDK's had dropped.
    del mine["dropped"], theirs["dropped"]
    assert mine == theirs
    assert (sent[0].start_time_unix_nano, sent[0].end_time_unix_nano) == (1_000, 2_000)


LENGTHS = (0, 1, *range(110, 130), 1023, 1024, 2047, 2048, 2049, 16_384, 70_000)
"""Around each place where a length takes one more byte, or a value is cut."""
CORNERS: dict[str, Callable[[Any], object]] = {
    "lengths": lambda span: [
        span.add_event("e" * size, {"k" * size: "v" * size, "k": "ä€😀"[size % 3] * size}, size)
        for size in LENGTHS
    ],
    "numbers": lambda span: [
        span.add_event("e", {"k": value}, 1)
        for value in (2**63 - 1, -(2**63), 2**63, [2**70], -0.0, math.inf, HTTPStatus.OK)
    ],
    "value that is dropped": lambda span: span.set_attributes({"k": 2**63, "l": 1}),
    "too many events": lambda span: [
        span.add_event(f"e{number}", dict.fromkeys("abcd", number), number) for number in range(5)
    ],
    "too many links": lambda span: [
        span.add_link(SpanContext(number, 6, number > 2), dict.fromkeys("abcd", number))
        for number in range(1, 5)
    ],
    "written again": lambda span: [
        span.set_attribute(f"k{number % 6}", number) for number in range(20)
    ],
    "status": lambda span: [
        span.set_status(status) for status in (StatusCode.ERROR, StatusCode.OK, StatusCode.ERROR)
    ],
}


@pytest.mark.parametrize("limits", [LIMITS, SpanLimits()], ids=["few", "many"])
@pytest.mark.parametrize("spoil", CORNERS.values(), ids=CORNERS)
def test_corner_cases_leave_as_the_sdk_would_send_them(
    limits: SpanLimits, spoil: Callable[[Any], object]
) -> None:
    collected: Any = _Collected()
    limits.max_span_attribute_length = limits.max_attribute_length = ATTRIBUTE_LENGTH_MAX
    ours = RecordingProvider(
        resource=RESOURCE, limits=limits, encoder=Encoder(mask), queue=collected, tap=Tap()
    )
    official = TracerProvider(resource=RESOURCE, span_limits=limits, shutdown_on_exit=False)
    mine, theirs = (provider.get_tracer("s").start_span("n") for provider in (ours, official))
    for span in (mine, theirs):
        spoil(span)
        span.end()

    sent: Any = Span.FromString(collected[0][1])
    expected = encode_spans([theirs._readable_span()])  # type: ignore[attr-defined]
    assert spelled(sent) == spelled(expected.resource_spans[0].scope_spans[0].spans[0])
    assert [one.dropped_attributes_count for one in (*sent.events, *sent.links)] == [
        one.dropped_attributes
        for one in (*theirs.events, *theirs.links)  # type: ignore[attr-defined]
    ]
