import errno
import threading

import pytest

from firedrill_kit.telemetry import writer as writer_module
from firedrill_kit.telemetry.writer import LineWriter
from tests.unit.telemetry.instruments import Instruments


class Sink:
    """Something to write to that can be full, slow or gone."""

    def __init__(self) -> None:
        self.data = b""
        self.open = threading.Event()
        self.open.set()
        self.entered = threading.Event()
        self.room: int | None = None
        self.step = 1 << 20

    def write(self, data: bytes) -> int:
        self.entered.set()
        self.open.wait(10)
        if self.room is not None:
            if not self.room:
                raise OSError(errno.ENOSPC, "full")
            size = min(len(data), self.room)
            self.room -= size
        else:
            size = min(len(data), self.step)
        self.data += data[:size]
        return size


def make(sink: Sink, instruments: Instruments, *, capacity: int = 100) -> LineWriter:
    return LineWriter(
        sink.write,
        capacity=capacity,
        records=instruments.records,
        render_drops=lambda drops: f"dropped {dict(drops)}\n".encode(),
    )


def counted(instruments: Instruments, result: str) -> float:
    return sum(
        instruments.value("records_total", level=level, result=result)
        for level in ("info", "warning", "error")
    )


def test_lines_are_written_whole_and_in_order() -> None:
    sink, instruments = Sink(), Instruments()
    sink.step = 7
    writer = make(sink, instruments)
    lines = [f"line {number}\n".encode() for number in range(50)]

    for line in lines:
        writer.put("info", line)

    assert writer.stop()
    assert sink.data == b"".join(lines)
    assert counted(instruments, "written") == 50


def test_a_stalled_reader_costs_lines_but_no_time_and_each_is_counted() -> None:
    sink, instruments = Sink(), Instruments()
    writer = make(sink, instruments, capacity=10)
    sink.open.clear()
    writer.put("info", b"first\n")
    assert sink.entered.wait(10)

    for _ in range(100):
        writer.put("info", b"more\n")
    complete = writer.stop(timeout_seconds=0.05)
    dropped = counted(instruments, "dropped")
    sink.open.set()
    writer._thread.join(10)

    assert not complete
    assert dropped == 100
    assert sink.data == b"first\ndropped {'info': 100}\n"


def test_drops_are_told_once_writing_works_again() -> None:
    sink, instruments = Sink(), Instruments()
    writer = make(sink, instruments, capacity=2)
    sink.open.clear()
    writer.put("info", b"first\n")
    assert sink.entered.wait(10)
    for level in ("info", "info", "error", "error", "error"):
        writer.put(level, b"more\n")
    sink.open.set()

    assert writer.stop()
    assert sink.data == b"first\nmore\nmore\ndropped {'error': 3}\n"


def test_a_full_disk_drops_lines_and_does_not_tear_the_next() -> None:
    sink, instruments = Sink(), Instruments()
    writer = make(sink, instruments)
    sink.room = 9

    writer._write_batch([("info", b"one\n"), ("info", b"second\n"), ("info", b"third\n")])
    sink.room = None
    writer._write_batch([("info", b"fourth\n")])
    writer.stop()

    assert sink.data.startswith(b"one\nsecon\nfourth\n")
    assert counted(instruments, "dropped") == 2
    assert instruments.value("records_total", level="info", result="written") == 2


def test_a_sink_that_is_gone_never_ends_the_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer_module, "LINGER_SECONDS", 0)
    sink, instruments = Sink(), Instruments()
    sink.room = 0
    writer = make(sink, instruments)
    writer.put("info", b"lost\n")
    assert sink.entered.wait(10)
    while len(writer) or not counted(instruments, "dropped"):
        pass
    sink.room = None
    writer.put("info", b"kept\n")

    assert writer.stop()
    assert b"kept\n" in sink.data


def test_lines_after_the_stop_are_dropped_and_counted() -> None:
    sink, instruments = Sink(), Instruments()
    writer = make(sink, instruments)
    writer.stop()

    writer.put("info", b"late\n")

    assert sink.data == b""
    assert counted(instruments, "dropped") == 1
