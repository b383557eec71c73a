from pathlib import Path

import pytest

from stack.tools import environments
from stack.tools.building import BuildError
from stack.tools.environments import programs_of


@pytest.fixture
def requirements(tmp_path: Path) -> Path:
    file = tmp_path / "example" / "requirements.txt"
    file.parent.mkdir()
    file.write_text("first==1\n")
    return file


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What would have been run: nothing is installed here."""
    commands: list[str] = []

    def note(*command: str) -> str:
        commands.append(" ".join(command))
        if "venv" in command:
            Path(command[-1]).mkdir()
        return ""

    monkeypatch.setattr(environments, "run", note)
    return commands


def test_an_environment_is_made_once(
    requirements: Path, commands: list[str], tmp_path: Path
) -> None:
    first = programs_of(requirements, tmp_path)
    again = programs_of(requirements, tmp_path)

    assert first == again
    assert [" venv " in command for command in commands] == [True, False]
    assert commands[1].endswith(f"--requirement {requirements}")


def test_other_requirements_are_another_environment(
    requirements: Path, commands: list[str], tmp_path: Path
) -> None:
    first = programs_of(requirements, tmp_path)
    requirements.write_text("first==2\n")

    assert programs_of(requirements, tmp_path) != first
    assert len(commands) == 4


def test_one_that_was_not_finished_is_made_again(
    requirements: Path, commands: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*command: str) -> str:
        raise BuildError("no such version")

    with monkeypatch.context() as broken:
        broken.setattr(environments, "run", fail)
        with pytest.raises(BuildError, match="no such version"):
            programs_of(requirements, tmp_path)

    programs_of(requirements, tmp_path)

    assert len(commands) == 2
