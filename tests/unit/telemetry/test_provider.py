"""What tracers and spans of our own record keep, and what they let through to the application."""

import gc
import logging
from typing import Any
from weakref import ref

import pytest
from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanLimits
from opentelemetry.trace import Status, StatusCode

from firedrill_kit.telemetry import guard
from firedrill_kit.telemetry.export import Tap
from firedrill_kit.telemetry.otlp import Encoder
from firedrill_kit.telemetry.provider import RecordingProvider
from firedrill_kit.telemetry.redaction import mask


class _Collected(list[Any]):
    """Where a queue is asked for."""

    put = list.append


@pytest.fixture
def collected() -> _Collected:
    return _Collected()


@pytest.fixture
def provider(collected: Any) -> RecordingProvider:
    return RecordingProvider(
        resource=Resource({}),
        limits=SpanLimits(),
        encoder=Encoder(mask),
        queue=collected,
        tap=Tap(),
    )


@pytest.fixture
def swallowed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    where: list[str] = []
    monkeypatch.setattr(guard, "_report", lambda place, _error: where.append(place))
    return where


def test_a_span_does_not_keep_the_spans_above_it(provider: RecordingProvider) -> None:
    """A task that starts its successor inside a span would keep all of them for ever."""
    tracer = provider.get_tracer("shop")
    first = tracer.start_span("first")
    gone = ref(first)
    second = tracer.start_span("second", trace.set_span_in_context(first))
    parent = first.get_span_context()
    first.end()
    del first
    gc.collect()

    assert gone() is None
    assert second.readable().parent == parent


@pytest.mark.parametrize(
    "spoil",
    [
        lambda span: span.add_event("e", timestamp=1.5),
        lambda span: span.end(1.5),
        lambda span: span.end(-1),
        lambda span: span.set_status(_with_description(5)),
    ],
)
def test_what_cannot_be_sent_is_counted_and_not_raised(
    provider: RecordingProvider, collected: _Collected, swallowed: list[str], spoil: Any
) -> None:
    """The SDK notices it in the thread that sends."""
    with provider.get_tracer("shop").start_as_current_span("charge") as span:
        spoil(span)

    assert (collected, swallowed) == ([], ["traces"])


def _with_description(description: Any) -> Status:
    status = Status(StatusCode.ERROR)
    status._description = description
    return status


@pytest.mark.parametrize("name", [None, 7, logging])
def test_a_name_that_is_no_text_is_written_as_text(
    provider: RecordingProvider, collected: _Collected, name: Any
) -> None:
    provider.get_tracer("shop").start_span(name).end()

    ((_, span),) = collected
    assert str(name).encode() in span


def test_a_tracer_may_have_attributes_of_any_kind(provider: RecordingProvider) -> None:
    first, second = (
        provider.get_tracer("shop", attributes={"shop.floors": [1, 2]}) for _ in range(2)
    )

    assert first is second
    assert dict(first.scope.attributes or {}) == {"shop.floors": (1, 2)}
