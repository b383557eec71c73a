"""Figures as files: plotly draws in a browser, which may not be there."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import plotly.io

from loadtests.world.errors import CannotRunError


class NoBrowserError(CannotRunError):
    """plotly draws in Chromium, and there is none."""


def write_images(figures: Sequence[Any], files: Sequence[Path]) -> None:
    """Write each figure, in its own size, by the ending of its file. Raises NoBrowserError."""
    sizes = [(one.layout.width, one.layout.height) for one in figures]
    widths, heights = zip(*sizes, strict=True)
    try:
        plotly.io.write_images(
            list(figures), list(files), width=list(widths), height=list(heights)
        )
    except RuntimeError as error:  # what plotly makes of a browser that is not found
        raise NoBrowserError(
            "the pictures are not drawn: install Chromium (Debian: apt install chromium)"
        ) from error
