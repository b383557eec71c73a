"""`python -m loadtests.costs.memory`: the most memory that each part of the running stack takes under load.

Samples every part once a second while `python -m loadtests SCENARIO` loads it, or with --seconds alone
until they are over, and writes memory.json and memory.md. Exit codes: 0, 1 nothing runs, 2 could not run.
"""

import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from loadtests.observe.memory import watch
from loadtests.record import record
from loadtests.record.markdown import heading, made, table
from stack.command_line import Parser
from stack.settings import ROOT, SettingsError, read_settings


def page(content: Mapping[str, Any]) -> str:
    """The page, from the record alone."""
    peaks = sorted(content["parts"].items(), key=lambda part: -part[1])
    total = ("**all, at the same moment**", f"**{content['all_parts'] / 1e6:.0f}**")
    lines = [
        *heading("Memory of each part, at its peak", "make record", "memory"),
        f"{made(content)};",
        f"{content['samples']} samples, one a second, while: {content['during']}.",
        "",
        *table(
            ("part", "MB"),
            [*((name, f"{count / 1e6:.0f}") for name, count in peaks), total],
            right=True,
        ),
    ]
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str]) -> int:
    parser = Parser(prog="memory", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="how long it watches (60)")
    parser.add_argument("--scenario", help="of `make load`, which loads the stack meanwhile")
    parser.add_argument("--during", default="nothing in particular", help="what goes on meanwhile")
    record.add_into(parser)
    given = parser.parse_args(arguments)
    settings = read_settings()
    load = None
    if given.scenario:
        given.during = f"`make load SCENARIO={given.scenario} DURATION={given.seconds:g}`"
        words = [sys.executable, "-m", "loadtests", given.scenario]
        load = subprocess.Popen(
            [*words, "--duration", f"{given.seconds:g}"], cwd=ROOT, stdout=subprocess.DEVNULL
        )
    try:
        peaks = watch(settings, given.seconds)
    finally:
        if load is not None:
            load.wait()
    if not peaks.samples:
        print("memory: nothing is running; `make up` starts it", file=sys.stderr)
        return 1
    found = {**record.about(), "during": given.during, **asdict(peaks)}
    record.publish(record.place(given.into), "memory", found, page(found))
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except SettingsError as error:
        print(f"memory: {error}", file=sys.stderr)
        sys.exit(2)
