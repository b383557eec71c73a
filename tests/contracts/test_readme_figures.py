"""The figures that the README quotes are those of the records."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from loadtests.record import load, readme
from loadtests.record.drills import DOCS, QUICK, README


def of_drills(text: str, record: dict[str, Any]) -> str:
    return readme.told(text, record, QUICK)


@pytest.mark.parametrize(
    ("record", "told", "command"),
    [("drills", of_drills, "make drills"), ("load", load.readme_with, "make load-report")],
)
def test_the_readme_quotes_the_record(
    record: str, told: Callable[[str, dict[str, Any]], str], command: str
) -> None:
    text = README.read_text()
    content = json.loads((DOCS / f"{record}.json").read_text())

    assert told(text, content) == text, f"written by {command} and never by hand"


def test_other_figures_would_be_another_readme() -> None:
    text = README.read_text()
    drills = json.loads((DOCS / "drills.json").read_text())
    for row in drills["drills"]:
        row["pages"] += 1

    assert of_drills(text, drills) != text
    assert load.readme_with(text, {}) != text
