"""Kept traces in SQLite: their spans and log lines, for two hours and up to a size."""

import json
import sqlite3
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from stack.viewer.otlp import ReceivedSpan, shown, summary

KEEP_SECONDS = 2 * 3600
SIZE_BYTES = 256_000_000
"""About 60,000 traces of four spans and two lines each; the oldest go first."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS traces (
    trace_id TEXT PRIMARY KEY, kept_at REAL NOT NULL, summary TEXT
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS traces_kept_at ON traces (kept_at);
CREATE TABLE IF NOT EXISTS spans (
    trace_id TEXT NOT NULL, span_id TEXT NOT NULL, service TEXT NOT NULL, content BLOB NOT NULL,
    PRIMARY KEY (trace_id, span_id)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS lines (
    trace_id TEXT NOT NULL, line TEXT NOT NULL, PRIMARY KEY (trace_id, line)
) WITHOUT ROWID;
"""


class TraceStore:
    """Used by one thread. Each method is one transaction.

    The same span or line twice is stored once: exporters retry, and logs are read again after a
    restart.
    """

    def __init__(self, file: Path | str, *, size_bytes: int = SIZE_BYTES) -> None:
        self._size_bytes = size_bytes
        self._database = sqlite3.connect(file, isolation_level=None)
        # What the last seconds before a crash of the machine held may be lost; a trace is no record.
        self._database.executescript(
            f"PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; {_SCHEMA}"
        )

    def close(self) -> None:
        self._database.close()

    def kept(self, trace_ids: Iterable[str]) -> set[str]:
        """Those of the ids whose trace is kept."""
        rows = self._database.execute(
            "SELECT trace_id FROM traces WHERE trace_id IN (SELECT value FROM json_each(?))",
            (json.dumps(list(trace_ids)),),
        )
        return {trace_id for (trace_id,) in rows}

    def add(
        self, spans: Sequence[ReceivedSpan], lines: Sequence[tuple[str, str]], now: float
    ) -> None:
        """Keep spans and (trace id, line) pairs. now: seconds since the epoch."""
        trace_ids = {span.trace_id for span in spans} | {trace_id for trace_id, _ in lines}
        summaries = [(summary(span.content), span.trace_id) for span in spans]
        with self._database as transaction:
            transaction.execute("BEGIN")
            transaction.executemany(
                "INSERT OR IGNORE INTO traces (trace_id, kept_at) VALUES (?, ?)",
                [(trace_id, now) for trace_id in trace_ids],
            )
            transaction.executemany(
                "INSERT OR IGNORE INTO spans VALUES (?, ?, ?, ?)",
                [(span.trace_id, span.span_id, span.service, span.content) for span in spans],
            )
            transaction.executemany("INSERT OR IGNORE INTO lines VALUES (?, ?)", lines)
            transaction.executemany(
                "UPDATE traces SET summary = ? WHERE trace_id = ?",
                [(json.dumps(found), trace_id) for found, trace_id in summaries if found],
            )

    def trace(self, trace_id: str) -> dict[str, Any] | None:
        """The spans of a trace in order of their start, and its log lines in order of time."""
        if not self.kept([trace_id]):
            return None
        spans = self._database.execute(
            "SELECT service, content FROM spans WHERE trace_id = ?", (trace_id,)
        )
        lines = self._database.execute("SELECT line FROM lines WHERE trace_id = ?", (trace_id,))
        return {
            "trace_id": trace_id,
            "spans": sorted(
                (shown(service, content) for service, content in spans),
                key=lambda span: str(span["start"]),
            ),
            "logs": sorted(
                (json.loads(line) for (line,) in lines),
                key=lambda line: str(line.get("timestamp")),
            ),
        }

    def latest(self, limit: int) -> list[dict[str, Any]]:
        """The traces kept last, newest first."""
        rows = self._database.execute(
            "SELECT trace_id, summary FROM traces WHERE summary IS NOT NULL"
            " ORDER BY kept_at DESC LIMIT ?",
            (limit,),
        )
        return [{"trace_id": trace_id, **json.loads(found)} for trace_id, found in rows]

    def sweep(self, now: float) -> int:
        """Delete what is too old or too much, and return how many traces went."""
        gone = self._delete_before(now - KEEP_SECONDS)
        while self.size_bytes() > self._size_bytes:
            # A tenth at a time, so that a store at its limit is not swept on each trace.
            count = self._one("SELECT count(*) FROM traces")
            cut = self._one(
                "SELECT kept_at FROM traces ORDER BY kept_at LIMIT 1 OFFSET ?", count // 10
            )
            deleted = self._delete_before(cut + 1e-6)
            if deleted == 0:
                break
            gone += deleted
        return gone

    def size_bytes(self) -> int:
        """Bytes in use; free pages of the file are used again."""
        pages = self._one("PRAGMA page_count") - self._one("PRAGMA freelist_count")
        return int(pages * self._one("PRAGMA page_size"))

    def _delete_before(self, kept_at: float) -> int:
        with self._database as transaction:
            transaction.execute("BEGIN")
            old = "SELECT trace_id FROM traces WHERE kept_at < ?"
            for table in ("spans", "lines"):
                transaction.execute(
                    f"DELETE FROM {table} WHERE trace_id IN ({old})",  # noqa: S608 - constants
                    (kept_at,),
                )
            return transaction.execute("DELETE FROM traces WHERE kept_at < ?", (kept_at,)).rowcount

    def _one(self, query: str, *values: float) -> Any:
        row = self._database.execute(query, values).fetchone()
        return row[0] if row else 0
