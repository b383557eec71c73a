"""The picture of the benchmark: what each mode adds to a request, and what is left of the throughput."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from plotly.subplots import make_subplots

from loadtests.bench.modes import BEFORE, ENDPOINTS, OURS
from loadtests.record.drawing import write_images

PICTURE = "benchmarks.svg"
WIDTH, ROW_HEIGHT, FRAME_HEIGHT = 1000, 34, 170
OURS_COLOR, OTHERS_COLOR = "#c8453b", "#8fa3bf"


def draw(modes: Mapping[str, Any], directory: Path) -> None:
    """Write the picture. Raises NoBrowserError."""
    directory.mkdir(exist_ok=True)
    write_images([figure(modes)], [directory / PICTURE])


def figure(modes: Mapping[str, Any]) -> Any:
    """A bar for each mode that was measured, the dearest at the top; the least and most as whiskers."""
    measured = [(name, of) for name, of in modes.items() if "reason" not in of and name != "bare"]
    measured.sort(key=lambda one: one[1]["items"]["added_cpu_us"]["median"])
    names = [name.replace("_", " ") for name, _ in measured]
    drawn = make_subplots(
        rows=1,
        cols=2,
        shared_yaxes=True,
        horizontal_spacing=0.04,
        subplot_titles=[f"{path}: added CPU, µs a request" for path in ENDPOINTS.values()],
    )
    for column, endpoint in enumerate(ENDPOINTS, start=1):
        added = [of[endpoint]["added_cpu_us"] for _, of in measured]
        left = [of[endpoint]["throughput_ratio"]["median"] for _, of in measured]
        drawn.add_bar(
            row=1,
            col=column,
            y=names,
            x=[one["median"] for one in added],
            orientation="h",
            marker_color=[
                OURS_COLOR if name in {OURS, BEFORE} else OTHERS_COLOR for name, _ in measured
            ],
            text=[
                f"{one['median']:.0f} ({share:.2f})"
                for one, share in zip(added, left, strict=True)
            ],
            textposition="outside",
            cliponaxis=False,
            error_x={
                "type": "data",
                "symmetric": False,
                "array": [one["max"] - one["median"] for one in added],
                "arrayminus": [one["median"] - one["min"] for one in added],
                "thickness": 1,
                "color": "#555555",
            },
        )
        most = max(one["max"] for one in added)
        drawn.update_xaxes(
            row=1, col=column, range=[min(0.0, *(o["min"] for o in added)), most * 1.4]
        )
    drawn.update_layout(
        template="plotly_white",
        width=WIDTH,
        height=FRAME_HEIGHT + ROW_HEIGHT * len(names),
        showlegend=False,
        font_size=14,
        title="What telemetry adds; in brackets the throughput, of bare",
        margin={"l": 260, "r": 30},
    )
    return drawn
