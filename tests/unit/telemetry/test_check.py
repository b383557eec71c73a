import asyncio
import time

import pytest
from sqlalchemy import create_engine, event, text
from starlette.types import Send

from firedrill_kit.telemetry import contrib
from firedrill_kit.telemetry.check import verify, verify_statement
from firedrill_kit.telemetry.loop import LoopMonitor
from firedrill_kit.telemetry.record import RequestRecord
from tests.unit.telemetry.instruments import (
    Instruments,
    answer,
    application,
    request,
    stack,
    telemetry,
)


async def fine(record: RequestRecord, send: Send) -> None:
    await answer(send)


async def test_a_service_that_can_be_seen_has_no_problems() -> None:
    with telemetry() as seen:
        app = stack(seen, application(fine))
        engine = create_engine("sqlite://")
        statements = seen.tracing.instrument_engine(engine)

        async def execute() -> None:
            with engine.connect() as connection:
                connection.execute(text("SELECT 1"))

        assert await verify(seen.tracing, lambda: request(app), statements) == []
        assert await verify_statement(seen.tracing, execute) == []
        assert len(seen.tracing.tap.watchers) == 1


async def test_a_missing_instrumentation_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TELEMETRY_INSTRUMENTATION", "contrib")
    with telemetry() as seen:
        monkeypatch.setitem(
            __import__("sys").modules, "opentelemetry.instrumentation.sqlalchemy", None
        )
        app = stack(seen, application(fine))
        statements = seen.tracing.instrument_engine(create_engine("sqlite://"))

        problems = await verify(seen.tracing, lambda: request(app), statements)

        assert problems == ["opentelemetry-instrumentation-sqlalchemy is not installed"]


@pytest.mark.parametrize("way", ["fast", "contrib"])
async def test_what_was_taken_off_the_engine_is_named(
    way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TELEMETRY_INSTRUMENTATION", way)
    with telemetry() as seen:
        app = stack(seen, application(fine))
        engine = create_engine("sqlite://")
        statements = seen.tracing.instrument_engine(engine)
        if way == "fast":
            del engine.dialect.do_execute
        else:
            event.remove(engine, "handle_error", contrib._name_error)

        problems = await verify(seen.tracing, lambda: request(app), statements)

        missing = "do_execute hook" if way == "fast" else "handle_error listener"
        assert problems == [f"no {missing} on the engine"]


async def test_no_span_and_two_spans_are_problems() -> None:
    with telemetry() as seen:
        statements = seen.tracing.instrument_engine(create_engine("sqlite://"))
        app = stack(seen, application(fine))

        async def nothing() -> None:
            pass

        async def twice() -> None:
            await request(app)
            await request(app)

        assert await verify(seen.tracing, nothing, statements) == [
            "one request left 0 server spans instead of 1"
        ]
        assert await verify(seen.tracing, twice, statements) == [
            "one request left 2 server spans instead of 1"
        ]
        assert await verify_statement(seen.tracing, nothing) == [
            "one statement left 0 client spans instead of 1"
        ]


async def test_the_lag_is_how_late_a_timer_fired() -> None:
    instruments = Instruments()
    monitor = LoopMonitor(
        instruments.duration.labels("GET", "http", "/", "200", ""), interval_seconds=0.01
    )
    monitor.start()

    time.sleep(0.1)  # noqa: ASYNC251 - the loop is blocked on purpose
    blocked = monitor.age_seconds
    labels = {"method": "GET", "route": "/", "status": "200"}
    while not instruments.value("duration_seconds_count", **labels):
        await asyncio.sleep(0.001)
    lag = instruments.value("duration_seconds_sum", **labels)
    monitor.stop()

    assert blocked >= 0.1
    assert lag >= 0.08
    assert monitor.age_seconds < blocked
