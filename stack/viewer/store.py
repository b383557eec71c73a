"""Kept traces in SQLite: their spans and log lines, for two hours and up to a size."""

import dataclasses
import json
import re
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
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


LIST_MAX = 1000


@dataclasses.dataclass(frozen=True)
class Search:
    """Which traces a list shows; None: any.

    status, status_last: first and last HTTP status. min_ms: duration in milliseconds. start, end:
    seconds since the epoch at which a trace was kept, which is up to 30 s after it began.
    """

    limit: int = 50
    route: str | None = None
    code: str | None = None
    status: int | None = None
    status_last: int | None = None
    min_ms: float | None = None
    start: float = 0.0
    end: float = 1e12

    @classmethod
    def read(cls, given: Mapping[str, str]) -> "Search":
        """From a query string; `status` is 503 or 5xx. Raises ValueError saying what to send."""
        limit, status = given.get("limit") or "50", given.get("status") or ""
        if not re.fullmatch("[0-9]{1,4}", limit) or not 1 <= int(limit) <= LIST_MAX:
            raise ValueError(f"limit: 1 to {LIST_MAX}")
        if not re.fullmatch("([1-5]([0-9]{2}|xx))?", status):
            raise ValueError("status: a number such as 503, or 5xx")
        first = int(status.replace("x", "0")) if status else None
        last = int(status.replace("x", "9")) if status else None
        numbers = {}
        for name, default in (("min_ms", None), ("start", 0.0), ("end", 1e12)):
            text = given.get(name)
            if text and not re.fullmatch(r"[0-9]{1,15}(\.[0-9]{1,9})?", text):
                raise ValueError(f"{name}: a number")
            numbers[name] = float(text) if text else default
        return cls(
            limit=int(limit),
            route=given.get("route") or None,
            code=given.get("code") or None,
            status=first,
            status_last=last,
            min_ms=numbers["min_ms"],
            start=numbers["start"] or 0.0,
            end=numbers["end"] or 1e12,
        )


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
        """Those of the ids whose trace is stored."""
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
        """The spans of a trace in order of their start, and its log lines in order of time.

        A link says whether its trace is kept, so that it can be followed.
        """
        if not self.kept([trace_id]):
            return None
        spans = self._database.execute(
            "SELECT service, content FROM spans WHERE trace_id = ?", (trace_id,)
        )
        lines = self._database.execute("SELECT line FROM lines WHERE trace_id = ?", (trace_id,))
        found = sorted(
            (shown(service, content) for service, content in spans),
            key=lambda span: str(span["start"]),
        )
        links = [link for span in found for link in span["links"]]
        kept = self.kept(link["trace_id"] for link in links)
        for link in links:
            link["kept"] = link["trace_id"] in kept
        return {
            "trace_id": trace_id,
            "spans": found,
            "logs": sorted(
                (json.loads(line) for (line,) in lines),
                key=lambda line: str(line.get("timestamp")),
            ),
        }

    def latest(self, search: Search) -> list[dict[str, Any]]:
        """The traces kept last that the search asks for, newest first."""
        rows = self._database.execute(
            "SELECT trace_id, summary FROM traces WHERE summary IS NOT NULL"
            " AND (:route IS NULL OR summary ->> 'http_route' = :route)"
            " AND (:code IS NULL OR summary ->> 'code' = :code)"
            " AND (:status IS NULL OR summary ->> 'status' BETWEEN :status AND :status_last)"
            " AND (:min_ms IS NULL OR summary ->> 'duration_ms' >= :min_ms)"
            " AND kept_at >= :start AND kept_at <= :end"
            " ORDER BY kept_at DESC LIMIT :limit",
            dataclasses.asdict(search),
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
