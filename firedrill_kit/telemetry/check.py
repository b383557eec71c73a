"""Proof, before traffic, that the service can be seen: instrumentation fails silently otherwise.

A service that runs blind looks healthy. With a version that the instrumentation does not like it emits
no span and one log line (measured), so what it leaves behind is counted instead.
"""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanKind

from firedrill_kit.telemetry.traces import Missing, Tracing, root_span


async def verify(
    tracing: Tracing,
    send_one_request: Callable[[], Awaitable[object]],
    missing: Missing | None,
) -> list[str]:
    """Return what is wrong, empty when all is well; call it before the first real request.

    send_one_request: sends one through the application as wired, in this process.
    missing: what `Tracing.instrument_engine` returned.
    """
    problems: list[str] = []
    if missing is None:
        problems.append("opentelemetry-instrumentation-sqlalchemy is not installed")
    else:
        problems += [f"no {name} on the engine" for name in missing()]
    with _ended(tracing, SpanKind.SERVER) as servers:
        await send_one_request()
    if len(servers) != 1:
        problems.append(f"one request left {len(servers)} server spans instead of 1")
    return problems


async def verify_statement(
    tracing: Tracing, execute_one: Callable[[], Awaitable[object]]
) -> list[str]:
    """Return what is wrong with the span of one statement; call it when a database is there.

    Statements of other tasks meanwhile are distinguished by their trace.
    """
    with (
        _ended(tracing, SpanKind.CLIENT) as clients,
        root_span("schema.check") as root,
    ):
        await execute_one()
    trace_id = root.get_span_context().trace_id
    count = sum(
        client.context is not None and client.context.trace_id == trace_id for client in clients
    )
    return [] if count == 1 else [f"one statement left {count} client spans instead of 1"]


@contextmanager
def _ended(tracing: Tracing, kind: SpanKind) -> Iterator[list[ReadableSpan]]:
    ended: list[ReadableSpan] = []

    def watch(span: ReadableSpan) -> None:
        if span.kind is kind:
            ended.append(span)

    tracing.tap.watchers.append(watch)
    try:
        yield ended
    finally:
        tracing.tap.watchers.remove(watch)
