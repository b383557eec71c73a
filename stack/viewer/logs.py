"""Reads the stack's log files as they grow and picks the lines that belong to a trace."""

import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import orjson

LINE_BYTES = 64 * 1024
"""A longer line is skipped."""
READ_BYTES = 1024 * 1024
"""Most that is read of one file at a time, so that reading never blocks the server for long."""
_TRACE_ID = re.compile(r"[0-9a-f]{32}")


class LogReader:
    """Follows every `*.jsonl` of a directory, from the start of each file."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._offsets: dict[Path, int] = {}

    def new_lines(self) -> Iterator[list[tuple[str, str]]]:
        """The (trace id, line) pairs since the last call, one list per piece of a file read.

        A file that has become shorter was emptied by the rotation: the rest of it is read in the copy,
        then itself from its start.
        """
        for file in sorted(self._directory.glob("*.jsonl")):
            try:
                if file.stat().st_size < self._offsets.get(file, 0):
                    with suppress(FileNotFoundError):  # emptied for want of room: no copy
                        yield from self._pieces(file, file.with_name(f"{file.name}.1"))
                    self._offsets[file] = 0
                yield from self._pieces(file, file)
            except FileNotFoundError:
                self._offsets.pop(file, None)

    def _pieces(self, file: Path, content: Path) -> Iterator[list[tuple[str, str]]]:
        """What there is from the offset of a file on, in itself or in its copy.

        Raises FileNotFoundError.
        """
        while True:
            offset = self._offsets.get(file, 0)
            with content.open("rb") as source:
                source.seek(offset)
                piece = source.read(READ_BYTES)
            whole = piece.rfind(b"\n") + 1
            if not whole and len(piece) == READ_BYTES:
                whole = len(piece)  # no line is that long: skip it
            self._offsets[file] = offset + whole
            if whole:
                yield [found for line in piece[:whole].splitlines() if (found := _read(line))]
            if len(piece) < READ_BYTES:
                return


def as_line(body: object) -> str:
    """A line that can be shown, always a JSON object: what is none becomes one, as the text of an event."""
    try:
        found = orjson.loads(body) if isinstance(body, str) else body
        orjson.dumps(found)  # what is nested too deep to be written again cannot be shown
    except (orjson.JSONDecodeError, TypeError):
        found = None
    if not isinstance(found, dict):
        return orjson.dumps({"event": body}).decode()
    return body if isinstance(body, str) else orjson.dumps(found).decode()


def _read(line: bytes) -> tuple[str, str] | None:
    if b'"trace_id"' not in line or len(line) > LINE_BYTES:
        return None
    try:
        fields = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    trace_id = fields.get("trace_id") if isinstance(fields, dict) else None
    if not isinstance(trace_id, str) or not _TRACE_ID.fullmatch(trace_id):
        return None
    return trace_id, as_line(line.decode())
