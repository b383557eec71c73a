"""Draws the rooms of docs/architecture.md: `python -m tests.contracts.architecture` (`make architecture`).

Arrows come from the imports themselves, the order inside a room from the contracts in pyproject.toml, and
what a room is for from the docstring of its package. A test draws it again and compares.
"""

import ast
import sys
import tomllib
from itertools import permutations
from pathlib import Path

import grimp

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "architecture.md"
BEGIN, END = "<!-- rooms: written by make architecture -->\n", "<!-- rooms end -->"

Arrow = tuple[str, str]


def contracts() -> dict[str, object]:
    """Return `[tool.importlinter]` of pyproject.toml."""
    document = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    found: dict[str, object] = document["tool"]["importlinter"]
    return found


def arrows(rooms: list[str]) -> list[Arrow]:
    """Which room imports which. An arrow that follows from two others is left out."""
    graph = grimp.build_graph(*rooms, cache_dir=None)
    for room in rooms:
        graph.squash_module(room)
    imports = {
        (one, other)
        for one, other in permutations(rooms, 2)
        if graph.direct_import_exists(importer=one, imported=other)
    }
    reached = {
        (one, other)
        for one, other in permutations(rooms, 2)
        if graph.chain_exists(importer=one, imported=other)
    }
    return sorted(
        (one, other)
        for one, other in imports
        if not any((one, via) in reached and (via, other) in reached for via in rooms)
    )


def purpose(room: str) -> str:
    """Return the first line of the package's docstring."""
    tree = ast.parse((ROOT / room / "__init__.py").read_text(encoding="utf-8"))
    return (ast.get_docstring(tree) or "").partition("\n")[0]


def layers(room: str, found: dict[str, object]) -> str:
    """Return the room's own layers, the one that may use all others first; empty without a contract."""
    listed = found["contracts"]
    assert isinstance(listed, list)
    for contract in listed:
        names = contract.get("layers", [])
        if names and all(name.startswith(f"{room}.") for name in names):
            short = [name.replace(f"{room}.", "").replace(" | ", ", ") for name in names]
            if not any("." in name for name in short):
                return f"`{' → '.join(short)}`"
    return ""


def drawn() -> str:
    """Return what stands between the two marks: a Mermaid diagram, and a table of the rooms."""
    found = contracts()
    rooms = found["root_packages"]
    assert isinstance(rooms, list)
    lines = ["```mermaid", "flowchart TB"]
    lines += [f"  {one} --> {other}" for one, other in arrows(rooms)]
    lines += ["```", "", "| room | what it is | inside, top first |", "| --- | --- | --- |"]
    lines += [f"| `{room}` | {purpose(room)} | {layers(room, found)} |" for room in rooms]
    return "\n".join(lines) + "\n"


def page() -> str:
    """Return the page with the drawing as it should be."""
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    after = rest.partition(END)[2]
    return f"{before}{BEGIN}{drawn()}{END}{after}"


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))  # where grimp looks for the packages
    PAGE.write_text(page(), encoding="utf-8")
