"""What the commands print: the parts of a stack, and how they are."""

import time
from collections.abc import Sequence

from stack.part import Part
from stack.processes import memory_bytes
from stack.state import State

WIDTH = 100
"""Columns of the terminal that the tables are made for."""


def parts_table(parts: Sequence[Part]) -> str:
    """Part, URL, what to look at."""
    rows = [(part.name, part.url, part.look_at) for part in parts if part.url]
    return _columns([("part", "url", "what to look at"), *rows])


def status_table(parts: Sequence[Part], state: State) -> str:
    """One line per part: pid, port, state, memory, uptime; then the memory of all."""
    rows = [("part", "pid", "port", "state", "memory", "uptime")]
    alive = state.alive
    total = 0
    for part in parts:
        if part.is_ready is None:
            continue
        ports = ", ".join(str(port) for _, port in part.ports)
        process = alive.get(part.name)
        if process is None:
            rows.append((part.name, "-", ports, "down", "-", "-"))
            continue
        memory = memory_bytes(process)
        total += memory
        rows.append(
            (
                part.name,
                str(process.pid),
                ports,
                "ready" if part.is_ready() else "not ready",
                _megabytes(memory),
                _duration(time.time() - process.started_at),
            )
        )
    return f"{_columns(rows)}\n\nresident memory in all: {_megabytes(total)}"


def _columns(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[index]) for row in rows) for index in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        lines.append("  ".join(cells).rstrip())
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(lines)


def _megabytes(count: int) -> str:
    return f"{count / 1_000_000:.0f} MB"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
