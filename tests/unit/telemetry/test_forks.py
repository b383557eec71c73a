"""A process that is forked after the kit has begun says what it does, and only that."""

import os
import threading
from collections.abc import Callable

from firedrill_kit.telemetry.export import SpanQueue
from firedrill_kit.telemetry.identity import random_bits, uuid7
from firedrill_kit.telemetry.writer import LineWriter
from tests.unit.telemetry.instruments import Instruments


def in_child(say: Callable[[], bytes]) -> bytes:
    """Return what a forked process returns."""
    reader, writer = os.pipe()
    if not (child := os.fork()):
        try:
            os.write(writer, say())
        finally:
            os._exit(0)
    os.close(writer)
    os.waitpid(child, 0)
    with os.fdopen(reader, "rb") as said:
        return said.read()


def test_two_workers_make_ids_of_their_own() -> None:
    """They inherit the state of the generator (gunicorn --preload)."""

    def ids() -> bytes:
        return f"{random_bits(128):x} {uuid7(1)}".encode()

    first, second = in_child(ids).split(), in_child(ids).split()

    assert first[0] != second[0]
    assert first[1] != second[1]


def test_lines_of_a_child_are_written_and_those_of_its_parent_are_not() -> None:
    held = threading.Event()
    entered = threading.Event()
    written: list[bytes] = []

    def write(data: bytes) -> int:
        entered.set()
        held.wait(10)
        written.append(data)
        return len(data)

    writer = LineWriter(
        write, capacity=10, records=Instruments().records, render_drops=lambda _: b""
    )
    writer.put("info", b"first of the parent\n")
    assert entered.wait(10)
    writer.put("info", b"second of the parent\n")

    def say() -> bytes:
        held.set()
        writer.put("info", b"of the child\n")
        writer.stop(10)
        return b"".join(written)

    assert in_child(say) == b"of the child\n"
    held.set()
    assert writer.stop(10)


def test_spans_of_a_child_are_exported_and_those_of_its_parent_are_not() -> None:
    held = threading.Event()
    entered = threading.Event()
    sent: list[bytes] = []

    class Sender:
        def send(self, request: bytes) -> bool:
            entered.set()
            held.wait(10)
            sent.append(request)
            return True

        def shutdown(self) -> None: ...

    instruments = Instruments()
    queue: SpanQueue[bytes] = SpanQueue(
        b" ".join,
        Sender(),  # type: ignore[arg-type]
        capacity=1000,
        spans=instruments.spans,
        queued=instruments.queued,
        capacity_gauge=instruments.capacity,
    )
    for _ in range(256):
        queue.put(b"parent's")
    assert entered.wait(10)
    queue.put(b"parent's")

    def say() -> bytes:
        held.set()
        queue.put(b"child's")
        queue.stop(10)
        return b" ".join(sent)

    assert in_child(say) == b"child's"
    held.set()
    assert queue.stop(10)
