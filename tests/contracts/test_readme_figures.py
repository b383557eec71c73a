"""The figures that the README quotes are those of the record, and it stays short."""

import json
import re
from dataclasses import replace

from alerting.catalogue import load_alerts
from alerting.features import can_fire, core_features
from alerting.service import DEMO, Service, described
from dashboards.build import built
from dashboards.queries import panels
from firedrill_kit.config import FILE
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


def test_alerts_and_panels_are_counted_as_they_are() -> None:
    """The two examples have what a file alone can add to the kit."""
    kit = replace(DEMO, features=core_features())
    shop = described(ROOT / "examples" / "shop" / FILE)
    alerts, drawn = len(load_alerts()), _panels(DEMO)
    fire = _can_fire(shop)
    for page, said in (
        (
            README,
            f"Of the {alerts} alerts, {_can_fire(kit)} can fire with the kit alone, and {fire}",
        ),
        (README, f"{_panels(shop)} of {drawn} panels"),
        (README, f"{alerts}, of them {fire} for any service"),
        (
            DOCS / "adopting.md",
            f"alerts that can fire, of {alerts} (`./firedrill check`) | {fire} |",
        ),
        (DOCS / "adopting.md", f"panels shown of {drawn} "),
    ):
        assert said in " ".join(page.read_text().split()), f"{page.name}: write “{said}”"


def _can_fire(service: Service) -> int:
    return sum(can_fire(alert, service.features) for alert in load_alerts())


def _panels(service: Service) -> int:
    return sum(len(list(panels(json.loads(board)))) for board in built(service).values())


def test_the_readme_is_read_in_five_minutes() -> None:
    assert len(README.read_text().split()) <= WORDS_MAX


def test_pages_and_folders_that_the_readme_and_the_docs_name_are_there() -> None:
    for page in (README, *DOCS.glob("*.md")):
        for link in re.findall(r"\]\((?!https?://)([^)#\s]+)", page.read_text()):
            assert (page.parent / link).exists(), f"{page.name}: {link}"
    for folder in re.findall(r"^\| `([\w./]+)`", README.read_text(), re.MULTILINE):
        assert (ROOT / folder).exists(), folder
