"""Writes lines from a thread of its own, behind a bounded queue.

A reader of stdout that stops reading must not stop the event loop (measured: it froze for 3.95 s), so
`put` only appends. What does not fit, or cannot be written, is counted by level and reported in one
line, `telemetry_dropped`, when writing works again. Every line ends up written or dropped: the two
counters add up to the lines put, less those still queued.
"""

import os
import threading
import time
from collections import Counter as Tally
from collections import deque
from collections.abc import Callable, Mapping

from prometheus_client import Counter

from firedrill_kit.telemetry.forks import after_fork

LINGER_SECONDS = 0.05
"""Wait after the first line: one wake-up and one system call for all that come meanwhile."""
WRITE_BYTES_MAX = 1 << 16
"""What a Linux pipe holds, so that a stalled reader keeps few lines in our hands."""
DROPS_REPORT_SECONDS = 10.0
"""Between two reports of dropped lines, at least."""

Write = Callable[[bytes], int]
"""Writes some of the bytes and says how many; raises OSError. May block."""


def to_descriptor(descriptor: int) -> Write:
    """Return a `Write` to a file descriptor, past Python's buffers, which block at exit."""
    return lambda data: os.write(descriptor, data)


class LineWriter:
    """One thread and its queue of complete lines.

    records: counter by (level, result). capacity: lines. render_drops: makes the line that says how
    many were dropped since the last, by level.
    """

    def __init__(
        self,
        write: Write,
        *,
        capacity: int,
        records: Counter,
        render_drops: Callable[[Mapping[str, int]], bytes],
    ) -> None:
        self._write = write
        self._capacity = capacity
        self._records = records
        self._render_drops = render_drops
        self._unreported: Tally[str] = Tally()
        self._reported_at = float("-inf")
        self._torn = False
        self._start()
        after_fork(self._start)

    def _start(self) -> None:
        """Begin with nothing queued; what a forked process finds there, its parent writes."""
        self._queue: deque[tuple[str, bytes]] = deque()
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="log-writer", daemon=True)
        self._thread.start()

    def __len__(self) -> int:
        """Lines waiting."""
        return len(self._queue)

    def put(self, level: str, line: bytes) -> None:
        """Queue one line that ends with a newline; never waits."""
        if len(self._queue) >= self._capacity or self._stopping.is_set():
            self._drop(level)
            return
        self._queue.append((level, line))
        if not self._wake.is_set():
            self._wake.set()

    def stop(self, timeout_seconds: float = 1.0) -> bool:
        """Write what is queued, for at most this long; drop and count the rest.

        Returns whether all was written.
        """
        self._stopping.set()
        self._wake.set()
        self._thread.join(timeout_seconds)
        complete = not self._thread.is_alive()
        while self._queue:
            self._drop(self._queue.popleft()[0])
        return complete

    def flush(self, timeout_seconds: float = 1.0) -> bool:
        """Write what is queued now, for at most this long; returns whether nothing is left."""
        give_up = time.monotonic() + timeout_seconds
        while self._queue and time.monotonic() < give_up:
            time.sleep(0.01)
        return not self._queue

    def _drop(self, level: str) -> None:
        self._unreported[level] += 1
        self._records.labels(level, "dropped").inc()

    def _run(self) -> None:
        while True:
            self._wake.wait()
            if not self._stopping.is_set():
                self._stopping.wait(LINGER_SECONDS)
            # Cleared before draining: a line that comes now sets it again.
            self._wake.clear()
            while batch := self._take():
                self._write_batch(batch)
            self._report_drops()
            if self._stopping.is_set() and not self._queue:
                return

    def _take(self) -> list[tuple[str, bytes]]:
        batch: list[tuple[str, bytes]] = []
        size = 0
        while self._queue and size < WRITE_BYTES_MAX:
            batch.append(self._queue.popleft())
            size += len(batch[-1][1])
        return batch

    def _write_batch(self, batch: list[tuple[str, bytes]]) -> None:
        data = b"".join(line for _, line in batch)
        written = self._write_fully(data)
        if written >= len(data):
            # Counted by level: a counter for each line took 2 µs of it.
            for level, count in Tally(level for level, _ in batch).items():
                self._records.labels(level, "written").inc(count)
            return
        end = 0
        for level, line in batch:
            end += len(line)
            if end <= written:
                self._records.labels(level, "written").inc()
            else:
                self._drop(level)

    def _write_fully(self, data: bytes) -> int:
        """Return how many of the bytes were written; fewer than all when the sink fails."""
        if self._torn:
            # A full disk cut a line: end it, or it would swallow the next.
            data, offset = b"\n" + data, 1
        else:
            offset = 0
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[self._write(bytes(rest)) :]
        except OSError:
            pass
        written = len(data) - len(rest)
        if written:
            self._torn = data[written - 1 : written] != b"\n"
        return max(0, written - offset)

    def _report_drops(self) -> None:
        now = time.monotonic()
        if not self._unreported or now - self._reported_at < DROPS_REPORT_SECONDS:
            return
        drops, self._unreported = self._unreported, Tally()
        self._reported_at = now
        self._write_batch([("warning", self._render_drops(drops))])
