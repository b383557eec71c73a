"""The figures that the README quotes are those of the records."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from loadtests.record.readme import drill_figures, load_figures
from loadtests.record.record import DOCS
from stack.settings import ROOT

README = ROOT / "README.md"


@pytest.mark.parametrize(
    ("record", "rewritten"), [("drills", drill_figures), ("load", load_figures)]
)
def test_the_readme_quotes_the_record(
    record: str, rewritten: Callable[[str, dict[str, Any]], str]
) -> None:
    text = README.read_text()
    content = json.loads((DOCS / f"{record}.json").read_text())

    assert rewritten(text, content) == text, "written by make record and never by hand"


def test_other_figures_would_be_another_readme() -> None:
    text = README.read_text()
    drills = json.loads((DOCS / "drills.json").read_text())
    for row in drills["drills"]:
        row["pages"] += 1

    assert drill_figures(text, drills) != text
    assert load_figures(text, {}) != text
