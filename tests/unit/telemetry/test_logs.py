import asyncio
import io
import json
import logging
import sys
import threading

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from firedrill_kit.telemetry import logs
from firedrill_kit.telemetry.record import RequestRecord, begin, end
from firedrill_kit.telemetry.traces import span
from tests.unit.telemetry.instruments import Instruments, restored, telemetry

log = structlog.get_logger()

TEXT = st.text(st.characters(exclude_categories=()), max_size=20)  # surrogates included
JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(TEXT, JSON, max_size=5))
def test_whatever_is_logged_is_one_ascii_line_of_json(event: dict[str, object]) -> None:
    line = logs.render_json(event)

    assert line.isascii()
    assert line.count(b"\n") == 1
    assert len(line.decode().splitlines()) == 1
    assert isinstance(json.loads(line), dict)


def test_values_that_json_cannot_hold_are_written_as_text() -> None:
    line = json.loads(
        logs.render_json({"a": "x\ud800y", "b": object(), "c": 2**70, "d": {1}, "e": 7})
    )

    assert line["a"] == "x\\ud800y"
    assert line["c"] == str(2**70)
    assert line["d"] == "{1}"
    assert line["e"] == 7


def test_a_line_carries_the_ids_of_the_span_that_runs() -> None:
    with telemetry() as seen:
        with span("calendar.sync"):
            log.info("inside_happened")
        log.info("outside_happened")

        inside, outside = seen.lines()
        (ended,) = seen.ended
        assert ended.context is not None
        assert inside["trace_id"] == f"{ended.context.trace_id:032x}"
        assert inside["span_id"] == f"{ended.context.span_id:016x}"
        assert "trace_id" not in outside


def test_a_line_outside_the_span_carries_the_ids_of_the_request() -> None:
    with telemetry() as seen:
        record = RequestRecord("GET", "/things", request_id="r1", trace_id="t1", span_id="s1")
        token = begin(record)
        log.warning("thing_happened")
        end(token)

        line = seen.line("thing_happened")
        assert (line["trace_id"], line["span_id"]) == ("t1", "s1")
        assert (line["firedrill.request_id"], line["http.route"]) == ("r1", "/things")
        assert line["level"] == "warning"
        assert line["timestamp"].endswith("Z")


def test_long_values_are_cut() -> None:
    with telemetry() as seen:
        log.info("thing_happened", text="x" * 5000, items=list(range(100)))

        line = seen.line("thing_happened")
        assert len(line["firedrill.text"]) == logs.FIELD_LENGTH_MAX + 1
        assert len(line["firedrill.items"]) == logs.ITEMS_MAX + 1


def test_exceptions_are_described_without_their_text() -> None:
    with telemetry() as seen:
        try:
            int("s3cr3t")
        except ValueError as error:
            log.exception("exception")
            log.warning("exception", exc_info=error)
            logging.getLogger("sqlalchemy.pool").exception("gone wrong: %s", error)  # noqa: TRY401

        lines = seen.lines()
        assert [line["exception.type"] for line in lines] == ["ValueError"] * 3
        assert [line["level"] for line in lines] == ["error", "warning", "error"]
        assert "s3cr3t" not in json.dumps(lines)


def test_standard_logging_takes_the_same_way_and_quotes_only_known_loggers() -> None:
    with telemetry() as seen:
        logging.getLogger("uvicorn.error").info("Started server process [%d]", 42)
        logging.getLogger("some.library").warning("user %s failed", "s3cr3t")
        logging.getLogger("sqlalchemy.engine").info("INSERT %s", "s3cr3t")
        logging.getLogger("uvicorn.access").info("GET /?token=%s", "s3cr3t")
        logging.getLogger("opentelemetry.exporter").error("%s", "s3cr3t")

        lines = seen.lines()
        assert [(line["otel.scope.name"], line["firedrill.message"]) for line in lines] == [
            ("uvicorn.error", "Started server process [42]"),
            ("some.library", "user %s failed"),
        ]


def test_lines_below_the_level_are_not_written() -> None:
    with telemetry(level="warning") as seen:
        log.info("small_thing_happened")
        log.warning("thing_happened")

        assert [line["event"] for line in seen.lines()] == ["thing_happened"]


async def test_a_lost_task_is_logged_by_type() -> None:
    with telemetry() as seen:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(logs.on_loop_error)

        async def fail() -> None:
            raise ValueError("s3cr3t")

        try:
            task = asyncio.create_task(fail(), name="sweeper")
            await asyncio.wait({task})
            del task
            await asyncio.sleep(0)
        finally:
            loop.set_exception_handler(None)

        line = seen.line("exception")
        assert (line["exception.type"], line["firedrill.task"]) == ("ValueError", "sweeper")
        assert "s3cr3t" not in json.dumps(line)


def test_every_line_is_counted_by_level() -> None:
    with telemetry() as seen:
        log.info("thing_happened")
        log.critical("thing_happened")
        seen.lines()

        assert seen.instruments.value("records_total", level="info", result="written") == 1
        assert seen.instruments.value("records_total", level="error", result="written") == 1


def test_a_terminal_gets_readable_lines_that_stay_one_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stdout", Terminal())
    written = io.BytesIO()
    with restored():
        writer = logs.configure(
            service="api",
            version="1",
            instance="i",
            environment="test",
            level="info",
            format_="auto",
            capacity=10,
            records=Instruments().records,
            write=written.write,
        ).writer
        log.info("thing_happened", name="two\nlines")
        writer.stop()

    text = written.getvalue()
    assert b"thing_happened" in text
    assert text.count(b"\n") == 1
    assert not any(thread is writer._thread for thread in threading.enumerate())
