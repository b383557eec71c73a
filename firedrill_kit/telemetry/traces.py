"""Tracing: the provider, what is instrumented, and the helpers for spans of one's own.

Every span is recorded and sent; which traces are kept stands in the attribute `firedrill.trace.keep`,
which the collector follows. Exceptions are recorded by type, never by text. A newcomer's usual mistake is the
SDK's own `start_as_current_span`, which records the message and the stack: use `span`.
"""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal, get_args

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import Link, Span, SpanContext, SpanKind, Status, StatusCode, Tracer
from opentelemetry.util.types import Attributes
from prometheus_client import Counter, Gauge
from sqlalchemy import Engine
from starlette.types import ASGIApp
from structlog.typing import FilteringBoundLogger

from firedrill_kit.telemetry import statement_spans
from firedrill_kit.telemetry.export import Tap
from firedrill_kit.telemetry.keep import Keep
from firedrill_kit.telemetry.pipeline import Pipeline, Queue
from firedrill_kit.telemetry.redaction import Policy, redact
from firedrill_kit.telemetry.server_spans import ServerSpans, TrustedNetworks

SHUTDOWN_SECONDS = 2.0
TRACER_NAME = "firedrill"

Instrumentation = Literal["fast", "contrib"]
"""fast: the kit's own spans. contrib: OpenTelemetry's instrumentations and SDK, its oracle."""
ErrorType = Callable[[BaseException], str]


def type_name(error: BaseException) -> str:
    return type(error).__qualname__


Missing = Callable[[], list[str]]
"""Says what of an instrumentation is no longer on its engine."""


class Tracing:
    """Tracing of one process: made by `start_tracing`, ended by `stop`."""

    def __init__(
        self,
        provider: trace.TracerProvider,
        *,
        is_official: bool,
        queue: Queue | None,
        tap: Tap,
        keep: Keep,
        trusted: TrustedNetworks,
        error_type: ErrorType,
        before: "Tracing | _Off",
    ) -> None:
        """before: what `span` and its like used until now, and use again after `stop`.

        is_official: whether server and statement spans come from the official instrumentations.
        """
        self.provider = provider
        self.is_official = is_official
        self.tap = tap
        self.keep = keep
        self.error_type = error_type
        self.tracer: Tracer = provider.get_tracer(TRACER_NAME)
        self._queue = queue
        self._before = before
        self._trusted = trusted

    def asgi(self, app: ASGIApp, *, joins_running: bool = False) -> ASGIApp:
        """Return the app inside a server span per request; `scope["firedrill.record"]` must be there.

        joins_running: whether a span that runs already is taken for it.
        """
        options: dict[str, Any] = {
            "provider": self.provider,
            "trusted": self._trusted,
            "keep": self.keep,
        }
        if not self.is_official:
            return ServerSpans(app, joins_running=joins_running, **options)
        from firedrill_kit.telemetry import contrib  # noqa: PLC0415 - 0.2 s that only the oracle needs

        return contrib.with_server_span(app, **options)

    def instrument_engine(self, engine: Engine) -> Missing | None:
        """Have each statement of this (sync) engine leave one client span.

        Returns None when the instrumentation is not installed, which `check.verify` reports.
        """
        if not self.is_official:
            return statement_spans.instrument(engine, self.provider).missing
        from firedrill_kit.telemetry import contrib  # noqa: PLC0415

        return contrib.instrument_engine(engine, self.provider)  # type: ignore[arg-type]

    def flush(self, timeout_seconds: float = SHUTDOWN_SECONDS) -> bool:
        """Export what is queued, for at most this long; returns whether all of it went."""
        return self._queue is None or self._queue.force_flush(round(timeout_seconds * 1000))

    def stop(self, timeout_seconds: float = SHUTDOWN_SECONDS) -> bool:
        """Export what is queued, for at most this long; returns whether all of it went.

        Spans go from now on to what was started before, if anything was.
        """
        global _current  # noqa: PLW0603 - as in `start_tracing`
        if _current is self:
            _current = self._before
        return self._queue is None or self._queue.stop(timeout_seconds)


class _Off:
    """Before tracing has started, and in programs without it: spans that record nothing."""

    tracer: Tracer = trace.NoOpTracer()
    keep = Keep(base_ratio=0)
    error_type: ErrorType = staticmethod(type_name)


_current: Tracing | _Off = _Off()


def start_tracing(
    *,
    endpoint: str,
    service: str,
    version: str,
    instance: str,
    environment: str,
    keep: Keep,
    trusted_networks: Sequence[str],
    queue_spans: int,
    timeout_seconds: float,
    spans: Counter,
    queued: Gauge,
    queue_capacity: Gauge,
    error_type: ErrorType = type_name,
    provider: TracerProvider | None = None,
    clean: Policy = redact,
    log: FilteringBoundLogger | None = None,
    instrumentation: Instrumentation | None = None,
) -> Tracing:
    """Start tracing in this process; `span` and its like use what was started last.

    endpoint: base of the OTLP/HTTP receiver, empty for none. instance: `service.instance.id`, as the
    targets of the metrics call it. queue_spans: how many may wait. timeout_seconds: of one export,
    retries included. error_type: names an exception for `error.type`, from a closed set. provider: of the
    SDK, set by the application: it gets these spans as well. clean: what leaves of a span. log: where
    losses are reported. instrumentation: as TELEMETRY_INSTRUMENTATION says when None.
    Raises ValueError for a network or an instrumentation that is none.
    """
    global _current  # noqa: PLW0603 - a process has one tracing, as it has one stdout
    chosen = instrumentation or os.environ.get("TELEMETRY_INSTRUMENTATION") or "fast"
    if chosen not in get_args(Instrumentation):
        raise ValueError(
            f"TELEMETRY_INSTRUMENTATION={chosen}: set one of {', '.join(get_args(Instrumentation))}"
        )
    is_official = chosen == "contrib" and provider is None
    pipeline = Pipeline(
        resource=Resource.create(
            {
                "service.name": service,
                "service.version": version,
                "service.instance.id": instance,
                "deployment.environment.name": environment,
            }
        ),
        endpoint=f"{endpoint.rstrip('/')}/v1/traces" if endpoint else "",
        timeout_seconds=timeout_seconds,
        capacity=queue_spans,
        spans=spans,
        queued=queued,
        capacity_gauge=queue_capacity,
        clean=clean,
        log=log,
    )
    made: trace.TracerProvider
    queue: Queue | None
    if is_official:
        made, queue = pipeline.official()
    elif provider is not None:
        made, queue = pipeline.joined(provider)
    else:
        made, queue = pipeline.own()
    tracing = Tracing(
        made,
        is_official=is_official,
        queue=queue,
        tap=pipeline.tap,
        keep=keep,
        trusted=TrustedNetworks(trusted_networks),
        error_type=error_type,
        before=_current,
    )
    _current = tracing
    return tracing


@contextmanager
def span(
    name: str, attributes: Attributes = None, *, kind: SpanKind = SpanKind.INTERNAL
) -> Iterator[Span]:
    """Run the block inside a span of its own, under the current one."""
    active = _current.tracer.start_span(name, kind=kind, attributes=attributes)
    with _recording(active):
        yield active


@contextmanager
def root_span(
    name: str,
    *,
    links: Sequence[SpanContext] = (),
    keep: bool = False,
) -> Iterator[Span]:
    """Run the block as a trace of its own that names what caused it.

    links: contexts of those who wait for it. keep: keep the trace whatever happens; else it is kept
    when the block fails or is slow, or by the base ratio.
    """
    started = time.perf_counter()
    root = _current.tracer.start_span(
        name,
        context=Context(),
        links=[Link(context) for context in links if context.is_valid],
    )
    with _recording(root):
        failed = True
        try:
            yield root
            failed = False
        finally:
            trace_id = root.get_span_context().trace_id
            seconds = time.perf_counter() - started
            decided = keep or _current.keep.root(trace_id, seconds=seconds, failed=failed)
            root.set_attribute("firedrill.trace.keep", decided)


def past_span(
    name: str, attributes: Attributes = None, *, seconds: float, error_type: str = ""
) -> None:
    """Record a span that ends now and began this long ago: for what is only worth one in hindsight."""
    now = time.time_ns()
    past = _current.tracer.start_span(
        name, start_time=now - round(seconds * 1e9), attributes=attributes
    )
    if error_type:
        past.set_attribute("error.type", error_type)
        past.set_status(Status(StatusCode.ERROR))
    past.end(now)


def current_context() -> SpanContext:
    """Return the context of the running span, for a link; invalid outside of any."""
    return trace.get_current_span().get_span_context()


@contextmanager
def _recording(active: Span) -> Iterator[None]:
    """Make the span current for the block, mark it when the block fails, and end it."""
    token = otel_context.attach(trace.set_span_in_context(active))
    try:
        yield
    except BaseException as error:
        active.set_attribute("error.type", _current.error_type(error))
        active.set_status(Status(StatusCode.ERROR))
        raise
    finally:
        otel_context.detach(token)
        active.end()
