"""A record: what was measured, where and by which command; JSON of which no half is ever left."""

import argparse
import json
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from stack.settings import ROOT, read_settings

DOCS = ROOT / "docs"
WRITTEN = ("docs/**", "README.md", "alerting/alerts/*/runbook.md")
"""By `make record`: that these differ from the commit says nothing about what is measured."""
LINE_CHARACTERS = 4000
"""What is longer is spread over several lines: a run stays one row, one line."""
_LOAD_AT_START = os.getloadavg()[0]


def add_into(parser: argparse.ArgumentParser) -> None:
    """Where record and page go: only `make record` puts them into docs/."""
    parser.add_argument(
        "--into", type=Path, metavar="DIRECTORY", help="for record and page (.local/records)"
    )


def place(given: Path | None) -> Path:
    """The directory for records, made. given: of --into; None: this checkout's own."""
    directory = given or read_settings().local / "records"
    directory.mkdir(parents=True, exist_ok=True)
    return directory


def read(file: Path) -> dict[str, Any]:
    """A record; empty where there is none yet."""
    found: dict[str, Any] = json.loads(file.read_text("utf-8")) if file.exists() else {}
    return found


def write(file: Path, record: object) -> None:
    """Put a record in place of its predecessor: a reader meanwhile sees one of the two."""
    replace(file, f"{_spread(record)}\n")


def replace(file: Path, text: str) -> None:
    """Write a file whole, or not at all: also when the machine stops meanwhile."""
    unfinished = file.with_name(f"{file.name}.unfinished")
    with unfinished.open("w", encoding="utf-8") as out:
        out.write(text)
        out.flush()
        os.fsync(out.fileno())
    unfinished.rename(file)


def publish(directory: Path, name: str, record: object, page: str) -> None:
    """Write NAME.json and NAME.md, and say where."""
    write(directory / f"{name}.json", record)
    replace(directory / f"{name}.md", page)
    print(f"written: {shown(directory / name)}.md and .json", flush=True)


def shown(path: Path) -> Path:
    """The path as it is printed: within the checkout from there."""
    return path.relative_to(ROOT) if path.is_relative_to(ROOT) else path


def about(*libraries: str, **versions: str) -> dict[str, Any]:
    """What stands beside every figure. libraries: Python's; versions: of what is none."""
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "command": _command(),
        "commit": commit(),
        "machine": f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}",
        "load_average": [round(_LOAD_AT_START, 2), round(os.getloadavg()[0], 2)],
        "versions": {
            "python": platform.python_version(),
            **versions,
            **{name: version(name) for name in libraries},
        },
    }


def commit() -> str:
    """The commit of this checkout, `-dirty` when a file differs from it; empty outside git."""
    short = git("rev-parse", "--short=10", "HEAD")
    return f"{short}-dirty" if short and changed() else short


def changed() -> list[str]:
    """Files that differ from the commit, but for what the record itself writes."""
    without = [f":(exclude,glob){one}" for one in WRITTEN]
    lines = git("status", "--porcelain", "--", ".", *without).splitlines()
    return [line.split(maxsplit=1)[-1] for line in lines]


def git(*arguments: str) -> str:
    """What git says of this checkout; empty when it cannot."""
    done = subprocess.run(
        ["git", *arguments],  # noqa: S607 - whichever made the checkout
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.strip()


def _command() -> str:
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    module = spec.name.removesuffix(".__main__") if spec else Path(sys.argv[0]).name
    words = list(sys.argv[1:])
    if "--into" in words:  # a path of this machine, and no part of what is measured
        at = words.index("--into")
        del words[at : at + 2]
    return shlex.join(["python", "-m", module, *words])


def _spread(content: object, depth: int = 0) -> str:
    line = json.dumps(content)
    if len(line) <= LINE_CHARACTERS and depth:
        return line
    inner, outer = "\n" + " " * (depth + 1), "\n" + " " * depth
    if isinstance(content, dict) and content:
        parts = [f"{json.dumps(key)}: {_spread(one, depth + 1)}" for key, one in content.items()]
        return f"{{{inner}{f',{inner}'.join(parts)}{outer}}}"
    if isinstance(content, Sequence) and content and not isinstance(content, str):
        parts = [_spread(one, depth + 1) for one in content]
        return f"[{inner}{f',{inner}'.join(parts)}{outer}]"
    return line
