"""The timeline of one drill: what became of the requests, and each hop on its way to the pager."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import plotly.graph_objects as go

from loadtests.judge.judgement import BIN_SECONDS
from loadtests.judge.scores import Row
from loadtests.record.drawing import write_images

_KINDS = (
    ("2xx", "answered", "#4c9f70"),
    ("4xx", "refused to the caller (4xx)", "#8fa3bf"),
    ("422", "422", "#e0a030"),
    ("5xx", "failed (5xx)", "#c8453b"),
    ("no_answer", "no answer", "#5b2333"),
)
WIDTH, HEIGHT = 1000, 380
PHONE_WIDTH = 760
"""Width of the picture with many rows: its text can be read on a phone, which halves it."""


OVERVIEW = "drills.svg"


def draw(rows: Sequence[Row], directory: Path, *, overview: Sequence[Row] = ()) -> None:
    """Write a timeline for each row, and one picture of all, as SVG. Raises NoBrowserError.

    rows: with their bins and notices.
    """
    directory.mkdir(exist_ok=True)
    figures = [figure(row) for row in rows]
    files = [directory / f"drill-{row['name']}.svg" for row in rows]
    if overview:
        figures.append(figure_of_all(overview))
        files.append(directory / OVERVIEW)
    if figures:
        write_images(figures, files)


def figure_of_all(rows: Sequence[Row]) -> Any:
    """Seconds from the break to the page against its target, and from the mend until it was resolved."""
    paged = sorted(
        (row for row in rows if row["expected"]), key=lambda row: -(row["detect_seconds"] or 0)
    )
    names = [row["name"] for row in paged]
    drawn = go.Figure()
    for column, name, color in (
        ("detect_seconds", "break to page", "#1f4e9c"),
        ("resolve_seconds", "mend to resolved", "#8fc7a0"),
    ):
        drawn.add_bar(
            y=names,
            x=[row[column] for row in paged],
            orientation="h",
            name=name,
            marker_color=color,
            text=[row[column] for row in paged],
            texttemplate="%{text:.0f}",
            textposition="outside",
            textfont_size=15,
            cliponaxis=False,
        )
    drawn.add_scatter(
        y=names,
        x=[row["deadline_seconds"] for row in paged],
        mode="markers",
        name="target of the page",
        marker={"symbol": "line-ns", "size": 16, "line": {"width": 3, "color": "#c8453b"}},
    )
    drawn.update_layout(
        template="plotly_white",
        width=PHONE_WIDTH,
        height=150 + 42 * len(paged),
        font_size=17,
        xaxis_title="seconds",
        legend={"orientation": "h", "y": 1.0, "yanchor": "bottom", "x": 0, "xref": "container"},
        margin={"l": 10, "r": 50, "t": 60, "b": 60},
        yaxis={"automargin": True, "range": [-0.6, len(paged) - 0.4]},
        bargap=0.25,
    )
    return drawn


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
        width=WIDTH,
        height=HEIGHT,
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
