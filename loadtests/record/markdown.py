"""What the pages are made of."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any


def table(
    head: Sequence[str], rows: Iterable[Sequence[object]], *, right: bool = False
) -> list[str]:
    """right: all columns but the first are figures."""
    rest = "---:" if right else "---"
    return [row(head), "|---|" + f"{rest}|" * (len(head) - 1), *map(row, rows)]


def memory_table(parts: Mapping[str, int], together: int) -> list[str]:
    """The most bytes that each part took, and all of them at the same moment; the largest first."""
    peaks = sorted(parts.items(), key=lambda part: -part[1])
    cells = [(name, f"{count / 1e6:.0f}") for name, count in peaks]
    total = ("**all, at the same moment**", f"**{together / 1e6:.0f}**")
    return table(("part", "MB"), [*cells, total], right=True)


def row(cells: Sequence[object]) -> str:
    return "| " + " | ".join(map(str, cells)) + " |"


def heading(title: str, command: str, name: str) -> list[str]:
    """The first lines of a page."""
    written = f"Written by `{command}` from [{name}.json]({name}.json), never by hand."
    return [f"# {title}", "", written]


def made(about: Mapping[str, Any]) -> str:
    """Date, machine, versions of a record; those of before some of it was kept have less."""
    parts = [about.get("date", "")[:10], about.get("machine", "machine not recorded")]
    if load := about.get("load_average"):
        parts.append("load average " + " to ".join(f"{one:g}" for one in load))
    parts += [f"{name} {number}" for name, number in about.get("versions", {}).items()]
    if about.get("commit"):
        parts.append(f"commit {about['commit']}")
    return ", ".join(filter(None, parts))


def figure(value: object) -> str:
    """A number or a text as a cell; `-`: there is none."""
    if value is None:
        return "-"
    return f"{value:g}" if isinstance(value, float) else str(value)


def between(text: str, name: str, content: str) -> str:
    """The text with other content at the place of this name; without such a place, as it is.

    The place begins with `<!-- NAME: written by COMMAND -->` and ends with `<!-- NAME end -->`.
    """
    place = re.compile(
        rf"(<!-- {re.escape(name)}: written by [^>]*-->).*?(<!-- {re.escape(name)} end -->)",
        re.DOTALL,
    )
    return place.sub(lambda found: f"{found[1]}\n{content}\n{found[2]}", text)
