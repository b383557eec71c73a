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
from loadtests.record.markdown import heading, made, memory_table
from loadtests.world.command import run
from stack.command_line import Parser, above_zero
from stack.settings import ROOT, read_settings


def page(content: Mapping[str, Any]) -> str:
    """The page, from the record alone."""
    lines = [
        *heading("Memory of each part, at its peak", "make record", "memory"),
        f"{made(content)};",
        f"{content['samples']} samples, one a second, while: {content['during']}.",
        "",
        *memory_table(content["parts"], content["all_parts"]),
    ]
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str]) -> int:
    parser = Parser(prog="memory", description=__doc__)
    parser.add_argument(
        "--seconds", type=above_zero, default=60.0, help="how long it watches (60)"
    )
    parser.add_argument("--scenario", help="of `make load`, which loads the stack meanwhile")
    parser.add_argument("--during", default="nothing in particular", help="what goes on meanwhile")
    record.add_into(parser)
    options = parser.parse_args(arguments)
    settings = read_settings()
    load = None
    if options.scenario:
        options.during = f"`make load SCENARIO={options.scenario} DURATION={options.seconds:g}`"
        words = [sys.executable, "-m", "loadtests", options.scenario]
        load = subprocess.Popen(
            [*words, "--duration", f"{options.seconds:g}"], cwd=ROOT, stdout=subprocess.DEVNULL
        )
    try:
        peaks = watch(settings, options.seconds)
    finally:
        load_code = load.wait() if load is not None else 0
    if load_code not in {0, 1}:
        return 2  # it has said why; what was sampled is not under that load
    if not peaks.samples:
        print("memory: nothing is running; `make up` starts it", file=sys.stderr)
        return 1
    found = {**record.about(), "during": options.during, **asdict(peaks)}
    record.publish(record.place(options.into), "memory", found, page(found))
    return 0


if __name__ == "__main__":
    run("memory", lambda: main(sys.argv[1:]))
