"""The committed JSON is what the code builds, and what Grafana's own schema says of it."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from dashboards import build
from dashboards.foundation import JSONEncoder, models
from dashboards.queries import load, panels
from stack.settings import ROOT

DASHBOARDS = load()
every_dashboard = pytest.mark.parametrize("dashboard", DASHBOARDS.values(), ids=DASHBOARDS.keys())

DRAWN_BY_THE_VIEWER = {
    "timeseries",
    "stat",
    "table",
    "heatmap",
    "state-timeline",
    "text",
    "row",
}


def test_the_committed_files_are_what_is_built() -> None:
    for name, content in build.built().items():
        assert (build.FOLDER / name).read_text(encoding="utf-8") == content, (
            f"run `make dashboards`: {name}"
        )
    assert {path.name for path in build.FOLDER.glob("*.json")} == set(build.built())


def test_the_command_writes_the_same_files(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "dashboards.build", "--out", str(tmp_path)]

    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)

    assert {path.name: path.read_text() for path in tmp_path.glob("*.json")} == build.built()


def test_a_folder_that_cannot_be_written_is_one_line_and_exit_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()

    assert build.main(["--out", str(tmp_path / "file")]) == 2

    said = capsys.readouterr().err
    assert said.startswith("dashboards.build: ")
    assert said.count("\n") == 1


@every_dashboard
def test_grafanas_schema_reads_it_and_writes_the_same(dashboard: dict[str, Any]) -> None:
    read = models.Dashboard.from_json(dashboard)

    written = json.loads(json.dumps(read, cls=JSONEncoder))

    assert build.visible(written) == dashboard


@every_dashboard
def test_ids_are_unique_and_panels_do_not_overlap(dashboard: dict[str, Any]) -> None:
    items = dashboard["panels"]
    cells = [
        (x, y)
        for item in items
        for position in [item["gridPos"]]
        for x in range(position["x"], position["x"] + position["w"])
        for y in range(position["y"], position["y"] + position["h"])
    ]

    assert len({item["id"] for item in items}) == len(items)
    assert len({item["title"] for item in items}) == len(items)
    assert len(set(cells)) == len(cells)
    assert max(x for x, _ in cells) == 23


@every_dashboard
def test_only_what_the_viewer_draws_is_used(dashboard: dict[str, Any]) -> None:
    assert {panel["type"] for panel in dashboard["panels"]} <= DRAWN_BY_THE_VIEWER


@every_dashboard
def test_each_panel_says_what_good_looks_like(dashboard: dict[str, Any]) -> None:
    for panel in panels(dashboard):
        said, title = panel["description"], panel["title"]
        assert said.startswith("Good: "), f"{title}: begin its description with `Good: `"
        assert said.endswith("."), f"{title}: end its description with a full stop"
        assert len(said.split()) >= 12, f"{title}: say in 12 words or more what good looks like"


def test_the_landing_page_has_twelve_panels_at_most() -> None:
    assert len(list(panels(DASHBOARDS["landing"]))) <= 12
