from pathlib import Path

from tests.contracts.plain_english import places

PYTHON = '''"""Whoever calls."""
told = f"{told} of them"  # told so
'''


def test_prose_is_looked_at_and_names_are_not(tmp_path: Path) -> None:
    file = tmp_path / "module.py"
    file.write_text(PYTHON)

    found = [place.removeprefix(f"{file}:") for place in places(file)]

    assert [place.split(": say")[0] for place in found] == ["1: “Whoever”", "2: “told”"]


def test_all_of_a_document_is_looked_at(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("The tolder\nwaits in vain\n")

    assert [*places(page)] == [f"{page}:2: “in vain”: say without success"]
