"""The part of OpenTelemetry's API that starts spans of `spans.py`."""

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache, partial

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanLimits
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanKind
from opentelemetry.util._decorator import _agnosticcontextmanager
from opentelemetry.util.types import Attributes, AttributeValue

from firedrill_kit.telemetry import otlp
from firedrill_kit.telemetry.export import SpanQueue, Tap
from firedrill_kit.telemetry.guard import guard
from firedrill_kit.telemetry.otlp import Encoder, Template
from firedrill_kit.telemetry.spans import RecordedSpan

_GUARD = guard("traces")


class RecordingTracer(trace.Tracer):
    """Starts spans of one instrumentation scope."""

    def __init__(self, provider: "RecordingProvider", scope: InstrumentationScope) -> None:
        self.scope = scope
        self.resource, self.limits = provider.resource, provider.limits
        self.template = provider.template
        self._plain = lru_cache(maxsize=512)(partial(provider.template, attributes={}))
        self._encoder, self._queue, self._tap = provider.encoder, provider.queue, provider.tap
        _, self._envelope = otlp.envelope(self.resource, scope)

    def start_span(  # noqa: PLR0917 - the API's
        self,
        name: str,
        context: Context | None = None,
        kind: SpanKind = SpanKind.INTERNAL,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        start_time: int | None = None,
        record_exception: bool = True,  # noqa: ARG002, FBT001, FBT002 - the API's
        set_status_on_exception: bool = True,  # noqa: ARG002, FBT001, FBT002
    ) -> RecordedSpan:
        template = self._plain(name, kind)
        span = RecordedSpan(self, template, trace.get_current_span(context), {}, start_time)
        if attributes:
            span.set_attributes(attributes)
        for link in links or ():
            span.add_link(link.context, link.attributes)
        return span

    @_agnosticcontextmanager
    def start_as_current_span(  # noqa: PLR0917 - the API's
        self,
        name: str,
        context: Context | None = None,
        kind: SpanKind = SpanKind.INTERNAL,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        start_time: int | None = None,
        record_exception: bool = True,  # noqa: FBT001, FBT002 - the API's
        set_status_on_exception: bool = True,  # noqa: FBT001, FBT002
        end_on_exit: bool = True,  # noqa: FBT001, FBT002
    ) -> Iterator[trace.Span]:
        span = self.start_span(name, context, kind, attributes, links, start_time)
        with trace.use_span(
            span,
            end_on_exit=end_on_exit,
            record_exception=record_exception,
            set_status_on_exception=set_status_on_exception,
        ) as active:
            yield active

    def ended(self, span: RecordedSpan) -> None:
        """Hand the span on: to the queue as bytes, to watchers as the SDK would show it."""
        try:
            if self._queue is not None:
                self._queue.put((self._envelope, span.encoded(self._encoder)))
            if self._tap.is_watched():
                self._tap.on_end(span.readable())
        except Exception:  # a time that is no integer, a description that is no text
            with _GUARD:
                raise


class RecordingProvider(trace.TracerProvider):
    """Tracers of one process.

    queue: takes (scope, span) as `otlp.request` does; None, spans go nowhere.
    """

    def __init__(
        self,
        *,
        resource: Resource,
        limits: SpanLimits,
        encoder: Encoder,
        queue: SpanQueue[tuple[bytes, bytes]] | None,
        tap: Tap,
    ) -> None:
        self.resource, self.limits, self.encoder = resource, limits, encoder
        self.queue, self.tap = queue, tap
        self._tracer = lru_cache(maxsize=256)(self._tracer_of)

    def template(
        self, name: str, kind: SpanKind, attributes: Mapping[str, AttributeValue]
    ) -> Template:
        """Return what many spans will share."""
        return Template(name, kind, attributes, self.encoder)

    def get_tracer(
        self,
        instrumenting_module_name: str,
        instrumenting_library_version: str | None = None,
        schema_url: str | None = None,
        attributes: Attributes = None,
    ) -> RecordingTracer:
        # Sequences become tuples: what is looked up has to be hashable.
        more = tuple(otlp.bounded(attributes)[0].items()) if attributes else ()
        return self._tracer(
            instrumenting_module_name, instrumenting_library_version, schema_url, more
        )

    def _tracer_of(
        self,
        name: str,
        version: str | None,
        schema_url: str | None,
        attributes: tuple[tuple[str, AttributeValue], ...],
    ) -> RecordingTracer:
        return RecordingTracer(
            self, InstrumentationScope(name, version, schema_url, dict(attributes))
        )

    def force_flush(self, timeout_millis: int = 2000) -> bool:
        return self.queue is None or self.queue.force_flush(timeout_millis)
