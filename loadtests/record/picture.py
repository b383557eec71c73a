"""The timeline of one drill: what became of the requests, and each hop on its way to the pager."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
import plotly.io

from loadtests.judge.judgement import BIN_SECONDS
from loadtests.judge.scores import Row

_KINDS = (
    ("2xx", "answered", "#4c9f70"),
    ("4xx", "refused to the caller (4xx)", "#8fa3bf"),
    ("422", "422", "#e0a030"),
    ("5xx", "failed (5xx)", "#c8453b"),
    ("no_answer", "no answer", "#5b2333"),
)
WIDTH, HEIGHT = 1000, 380


class NoBrowserError(Exception):
    """plotly draws in Chromium, and there is none."""


def file_of(directory: Path, row: Row) -> Path:
    return directory / f"drill-{row['name']}.svg"


def draw(rows: Sequence[Row], directory: Path) -> None:
    """Write the timelines as SVG, in one browser. Raises NoBrowserError."""
    files: list[str | Path] = [file_of(directory, row) for row in rows]
    try:
        plotly.io.write_images([figure(row) for row in rows], files, width=WIDTH, height=HEIGHT)
    except RuntimeError as error:  # what plotly makes of a browser that is not found
        raise NoBrowserError(
            "the timelines are not drawn: install Chromium (Debian: apt install chromium)"
        ) from error


def figure(row: Row) -> Any:
    """Seconds count from the break."""
    at = [one["at"] - row["injected_at_seconds"] for one in row["bins"]]
    drawn = go.Figure()
    for kind, name, color in _KINDS:
        rates = [one.get(kind, 0) / BIN_SECONDS for one in row["bins"]]
        if any(rates):
            drawn.add_bar(x=at, y=rates, name=name, marker_color=color, width=BIN_SECONDS)
    for number, (label, seconds, color) in enumerate(_marks(row)):
        drawn.add_vline(
            x=seconds,
            line_color=color,
            line_width=1.5,
            annotation_text=f"{label} {seconds:.0f} s",
            annotation_y=1.0 + 0.09 * (number % 3),
            annotation_font_size=11,
        )
    drawn.update_layout(
        barmode="stack",
        bargap=0,
        template="plotly_white",
        title={"text": row["name"], "x": 0.02, "y": 0.97},
        xaxis_title="seconds since the break",
        yaxis_title="requests a second",
        legend={"orientation": "h", "y": -0.22},
        margin={"l": 60, "r": 30, "t": 105, "b": 70},
    )
    return drawn


def _marks(row: Row) -> list[tuple[str, float, str]]:
    marks: list[tuple[str, float, str]] = [("broken", 0.0, "#c8453b")]
    hops = row["hops"]
    marks += [
        (name.replace("_", " "), hops[name], "#555555")
        for name in ("first_bad_scrape", "firing")
        if hops.get(name) is not None
    ]
    pages = [one for one in row["notices"] if one["rang"] and one["receiver"] != "ticket"]
    marks += [(f"page {', '.join(one['alerts'])}", one["at"], "#1f4e9c") for one in pages]
    marks.append(("mended", row["mended_seconds"], "#2e7d32"))
    if row["resolve_seconds"] is not None:
        marks.append(("resolved", row["mended_seconds"] + row["resolve_seconds"], "#2e7d32"))
    return sorted(marks, key=lambda mark: mark[1])
