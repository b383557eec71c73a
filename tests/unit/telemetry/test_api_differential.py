"""The API over our own record against the SDK: whatever a span is given leaves as the SDK would send it."""

from typing import Any

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
