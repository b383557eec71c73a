"""The figures that the README quotes are those of the record, and it stays short."""

import json
import re

from loadtests.record.readme import bench_figures, drill_figures
from loadtests.record.record import DOCS
from stack.settings import ROOT

README = ROOT / "README.md"
WORDS_MAX = 1300


def test_the_readme_quotes_the_record() -> None:
    text = README.read_text()
    drills, bench = (
        json.loads((DOCS / f"{name}.json").read_text()) for name in ("drills", "benchmarks")
    )

    assert drill_figures(text, drills) == text, "written by make record and never by hand"
    assert bench_figures(text, bench) == text, "written by make record and never by hand"


def test_other_figures_would_be_another_readme() -> None:
    text = README.read_text()
    drills = json.loads((DOCS / "drills.json").read_text())
    for row in drills["drills"]:
        row["pages"] += 1

    assert drill_figures(text, drills) != text


def test_the_readme_is_read_in_five_minutes() -> None:
    assert len(README.read_text().split()) <= WORDS_MAX


def test_pages_and_folders_that_the_readme_and_the_docs_name_are_there() -> None:
    for page in (README, *DOCS.glob("*.md")):
        for link in re.findall(r"\]\((?!https?://)([^)#\s]+)", page.read_text()):
            assert (page.parent / link).exists(), f"{page.name}: {link}"
    for folder in re.findall(r"^\| `([\w./]+)`", README.read_text(), re.MULTILINE):
        assert (ROOT / folder).exists(), folder
