import threading
from collections.abc import Callable

import pytest
from opentelemetry import trace
from opentelemetry.instrumentation.utils import is_instrumentation_enabled
from opentelemetry.trace import SpanContext, Status, StatusCode, TraceState

from firedrill_kit.telemetry import traces
from firedrill_kit.telemetry.export import Exporter, SpanQueue
from firedrill_kit.telemetry.redaction import redact, without_literals
from firedrill_kit.telemetry.traces import past_span, root_span, span
from tests.unit.telemetry.instruments import Instruments, attributes_of, telemetry


class Sender(Exporter):
    """An sender whose collector can be away."""

    def __init__(self, is_taken: Callable[[], bool]) -> None:
        self.is_taken = is_taken
        self.got: list[str] = []
        self.stopped = threading.Event()

    def send(self, request: bytes) -> bool:
        is_taken = self.is_taken()
        if is_taken:
            self.got += request.decode().split("\n")
        return is_taken

    def shutdown(self) -> None:
        self.stopped.set()


def queue_of(sender: Sender, instruments: Instruments, *, capacity: int = 1000) -> SpanQueue[str]:
    return SpanQueue(
        lambda batch: "\n".join(batch).encode(),
        sender,
        capacity=capacity,
        spans=instruments.spans,
        queued=instruments.queued,
        capacity_gauge=instruments.capacity,
    )


def end_spans(queue: SpanQueue[str], count: int) -> None:
    for number in range(count):
        queue.put(f"span {number}")


def account(instruments: Instruments) -> dict[str, float]:
    results = ("exported", "failed", "dropped_queue_full")
    counts = {result: instruments.value("spans_total", result=result) for result in results}
    return {**counts, "queued": instruments.value("queued")}


def test_what_is_queued_leaves_in_order() -> None:
    sender, instruments = Sender(lambda: True), Instruments()
    queue = queue_of(sender, instruments)

    end_spans(queue, 700)

    assert queue.stop(10)
    assert sender.got == [f"span {number}" for number in range(700)]
    assert account(instruments) == {
        "exported": 700,
        "failed": 0,
        "dropped_queue_full": 0,
        "queued": 0,
    }


def test_an_export_leaves_no_span_of_an_instrumented_client() -> None:
    """`RequestsInstrumentor` would make one of each, and that is exported in turn."""
    suppressed: list[bool] = []

    def look() -> bool:
        suppressed.append(not is_instrumentation_enabled())
        return True

    queue = queue_of(Sender(look), Instruments())
    end_spans(queue, 1)

    assert queue.stop(10)
    assert suppressed == [True]


def test_a_collector_that_fails_is_counted() -> None:
    def broken() -> bool:
        raise OSError

    for is_taken in (lambda: False, broken):
        instruments = Instruments()
        queue = queue_of(Sender(is_taken), instruments)

        end_spans(queue, 300)

        assert queue.stop(10)
        assert account(instruments)["failed"] == 300


def test_a_full_queue_drops_the_newest_and_the_account_adds_up() -> None:
    held = threading.Event()
    entered = threading.Event()

    def hang() -> bool:
        entered.set()
        held.wait(10)
        return True

    sender, instruments = Sender(hang), Instruments()
    queue = queue_of(sender, instruments, capacity=300)
    end_spans(queue, 256)
    assert entered.wait(10)
    end_spans(queue, 100)

    during = account(instruments)
    held.set()
    queue.stop(10)

    assert instruments.value("capacity") == 300
    assert during == {"exported": 0, "failed": 0, "dropped_queue_full": 56, "queued": 300}
    assert account(instruments) == {**during, "exported": 300, "queued": 0}


def test_stopping_with_a_dead_collector_is_bounded_and_counts_what_is_lost() -> None:
    held = threading.Event()
    entered = threading.Event()

    def hang() -> bool:
        entered.set()
        held.wait(10)
        return False

    sender, instruments = Sender(hang), Instruments()
    queue = queue_of(sender, instruments)
    end_spans(queue, 300)
    assert entered.wait(10)

    complete = queue.stop(0.05)

    assert not complete
    assert sender.stopped.is_set()
    assert account(instruments) == {
        "exported": 0,
        "failed": 44,
        "dropped_queue_full": 0,
        "queued": 256,
    }
    held.set()
    queue._thread.join(10)
    assert account(instruments)["failed"] == 300


def test_only_listed_attributes_leave() -> None:
    with telemetry() as seen:
        with span("calendar.sync") as active:
            active.set_attribute("url.query", "token=s3cr3t")
            active.set_attribute("firedrill.calendar.events", 3)
            active.set_attribute("db.query.text", "SELECT 's3cr3t' WHERE id = $1")
            active.add_event(
                "exception", {"exception.message": "s3cr3t", "firedrill.validation.field": "name"}
            )
            active.set_status(Status(StatusCode.ERROR, "DETAIL: s3cr3t"))

        redacted = redact(seen.ended[0])
        assert "s3cr3t" not in redacted.to_json()
        assert attributes_of(redacted) == {
            "firedrill.calendar.events": 3,
            "db.query.text": "SELECT ? WHERE id = $1",
        }
        assert redacted.name == "calendar.sync"
        assert redacted.status.status_code is StatusCode.ERROR
        assert redacted.context == seen.ended[0].context
        assert dict(redacted.events[0].attributes or {}) == {"firedrill.validation.field": "name"}


def test_a_status_keeps_a_code_and_loses_a_message() -> None:
    with telemetry() as seen:
        with span("calendar.sync") as active:
            active.set_status(Status(StatusCode.ERROR, "DETAIL: s3cr3t"))

        redacted = redact(seen.ended[0])
        assert redacted.status.status_code is StatusCode.ERROR
        assert redacted.status.description is None


def test_a_link_leaves_without_the_trace_state_of_who_called() -> None:
    """A stranger's `tracestate` is a stranger's text."""
    stranger = SpanContext(1, 2, is_remote=True, trace_state=TraceState([("vendor", "s3cr3t")]))
    with telemetry() as seen:
        with span("calendar.sync") as active:
            active.add_link(stranger)

        (link,) = redact(seen.ended[0]).links

    assert (link.context.trace_id, link.context.span_id) == (1, 2)
    assert not link.context.trace_state


def test_a_link_leaves_with_its_context_alone() -> None:
    with telemetry() as seen:
        with span("calendar.sync") as linked:
            pass
        with span("calendar.sync") as active:
            active.add_link(linked.get_span_context(), {"firedrill.note": "s3cr3t"})

        redacted = redact(seen.ended[1])
        assert [link.context for link in redacted.links] == [linked.get_span_context()]
        assert "s3cr3t" not in redacted.to_json()


def test_a_clean_span_is_not_copied() -> None:
    with telemetry() as seen:
        with span("calendar.sync", {"firedrill.calendar.events": 1}) as active:
            active.set_status(Status(StatusCode.ERROR, "db_timeout"))

        assert redact(seen.ended[0]) is seen.ended[0]


@pytest.mark.parametrize(
    ("sql", "clean"),
    [
        ("SELECT 1", "SELECT 1"),
        ("WHERE a = 'x''y' AND b = $1::int", "WHERE a = ? AND b = $1::int"),
        ("SELECT $$s3cr3t$$, $a$s$$t$a$", "SELECT ?, ?"),
        ("WHERE a = $1 AND b = $2", "WHERE a = $1 AND b = $2"),
    ],
)
def test_literals_leave_a_statement_and_parameters_stay(sql: str, clean: str) -> None:
    assert without_literals(sql) == clean


def test_a_failing_block_marks_its_span_by_type_only() -> None:
    with telemetry() as seen:
        with pytest.raises(ValueError, match="s3cr3t"), span("calendar.sync"):
            raise ValueError("s3cr3t")

        (ended,) = seen.ended
        assert attributes_of(ended) == {"error.type": "ValueError"}
        assert ended.status.status_code is StatusCode.ERROR
        assert "s3cr3t" not in ended.to_json()
        assert not trace.get_current_span().get_span_context().is_valid


def test_a_root_is_a_trace_of_its_own_linked_to_its_waiters_and_decides_for_itself() -> None:
    with telemetry() as seen:
        with span("calendar.sync"):
            waiter = traces.current_context()
            with root_span("oauth.refresh", links=[waiter], keep=True):
                pass
        with root_span("schema.check"):
            pass
        with pytest.raises(KeyError), root_span("schema.check"):
            raise KeyError

        refresh, _sync, quiet, failed = seen.ended
        assert refresh.parent is None
        assert refresh.links[0].context == waiter
        kept = [attributes_of(root)["firedrill.trace.keep"] for root in (refresh, quiet, failed)]
        assert kept == [True, False, True]


def test_a_span_in_hindsight_lies_in_the_past() -> None:
    with telemetry() as seen:
        pool = {"db.client.connection.pool.name": "app"}
        past_span("db.pool.acquire", pool, seconds=0.25, error_type="timeout")

        (ended,) = seen.ended
        assert ended.start_time is not None
        assert ended.end_time is not None
        assert ended.end_time - ended.start_time == 250_000_000
        assert attributes_of(ended) == {**pool, "error.type": "timeout"}
