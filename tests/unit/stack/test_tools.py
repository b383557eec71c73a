"""Programs that are built here: of which version, and when again."""

from pathlib import Path

import pytest
import yaml

from stack.settings import ROOT
from stack.tools import building
from stack.tools.__main__ import main
from stack.tools.building import BuildError, Tool
from stack.tools.prometheus import VERSION


def tool(program: Path, recipe: str, made: list[str]) -> Tool:
    def make(directory: Path) -> Path:
        made.append(recipe)
        (directory / "made").write_text(recipe)
        return directory / "made"

    return Tool(program, recipe, make)


def test_prometheus_is_of_the_version_that_compose_starts() -> None:
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())

    assert f"prom/prometheus:v{VERSION}" in compose["services"]["prometheus"]["image"]


def test_a_program_is_built_again_when_its_recipe_changes_and_not_before(tmp_path: Path) -> None:
    program, made = tmp_path / "bin" / "program", list[str]()

    for recipe in ("first", "first", "second"):
        tool(program, recipe, made).build()

    assert made == ["first", "second"]
    assert program.read_text() == "second"


def test_a_build_that_fails_leaves_the_program_that_was_there(tmp_path: Path) -> None:
    program = tmp_path / "program"
    tool(program, "first", []).build()

    def fail(_: Path) -> Path:
        raise BuildError("no compiler")

    with pytest.raises(BuildError):
        Tool(program, "second", fail).build()

    assert program.read_text() == "first"


def test_without_go_one_line_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(building, "find_go", lambda: None)

    with pytest.raises(BuildError, match="install it"):
        building.go("version")


def test_an_unknown_program_is_one_line_and_exit_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["grafana"]) == 2

    error = capsys.readouterr().err
    assert "grafana is not known; give some of collector, promtool, prometheus" in error
    assert len(error.splitlines()) == 1
