"""`python -m loadtests.drills db_pool_exhausted ... | --all | --quick [--seed 1] [--again] [--jobs 1]`

With SERVICE set they are the drills of that firedrill.toml, on the stack that runs around its service.

`--all` runs every drill that the record does not hold yet, so that it can be interrupted and started
again; `--again` runs those too. Exit codes: 0 every drill went as it should, 1 one did not (each is
said), 2 one could not run, 130 interrupted, and mended.
"""

import argparse
import asyncio
import signal
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Protocol

from loadtests.drills import catalogue
from loadtests.drills.runner import described, run
from loadtests.judge import judgement
from loadtests.judge.drill import Course, Drill
from loadtests.record import drills as report
from loadtests.record import record
from loadtests.record.drawing import NoBrowserError
from loadtests.record.readme import QUICK
from loadtests.world.around import stage_around
from loadtests.world.command import run as run_command
from loadtests.world.description import SERVED
from loadtests.world.stage import StageError, own_stage
from stack.command_line import Parser, whole
from stack.settings import read_settings

JOBS_MAX = 4
"""Each takes half of a core; beyond that the stacks measure each other."""
LANES_MAX = 10
"""Ports of a lane begin 2000 above those of the one before."""


class CarryOut(Protocol):
    """Carries one drill out, and returns its exit code."""

    async def __call__(self, drill: Drill, *, lane: int, is_alone: bool) -> int: ...


def parse(arguments: Sequence[str], drills: Sequence[str]) -> argparse.Namespace:
    parser = Parser(
        prog="drills",
        description="Breaks one thing on a stack of its own, and watches what pages.",
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(drills))
    parser.add_argument("--all", action="store_true", help="all that the record does not hold yet")
    if SERVED.is_demo:
        parser.add_argument("--quick", action="store_true", help=" and ".join(QUICK))
    parser.add_argument("--again", action="store_true", help="also those the record holds")
    parser.add_argument("--seed", type=int, default=1, help="of the load and the moment (1)")
    parser.add_argument(
        "--jobs", type=whole(1, JOBS_MAX), default=1, help="drills side by side (1)"
    )
    lane = whole(0, LANES_MAX)
    parser.add_argument("--lane", type=lane, default=0, help="number of the first stack (0)")
    record.add_into(parser)
    options = parser.parse_args(arguments)
    options.names = [name for name in options.names if name]  # `make drill` without a NAME
    if unknown := sorted(set(options.names) - set(drills)):
        parser.error(f"no drill is called {', '.join(unknown)}: {', '.join(drills)}")
    if not drills:
        parser.error(f"drill: {SERVED.name} has none; add a [[drill]] to its firedrill.toml")
    if not (options.names or options.all or (SERVED.is_demo and options.quick)):
        ways = "--all, --quick" if SERVED.is_demo else "--all"
        parser.error(f"say which (NAME=): {ways} or one of {', '.join(drills)}")
    return options


def main(arguments: Sequence[str]) -> int:
    drills = catalogue() if SERVED.is_demo else described.catalogue(SERVED)
    options = parse(arguments, list(drills))
    if not SERVED.is_demo:
        return _of_service([drills[name] for name in options.names or drills], options)
    names = list(options.names) or list(QUICK if options.quick else drills)
    directory = record.place(options.into)
    if options.all and not options.again:
        held = report.held(directory, seed=options.seed)
        names = [name for name in names if name not in held]
        print(f"{len(held)} drills in the record, {len(names)} to go", flush=True)
    carry_out = partial(_drill, seed=options.seed, directory=directory)
    codes = asyncio.run(
        _all([drills[name] for name in names], carry_out, jobs=options.jobs, lane=options.lane)
    )
    try:
        report.write_pages(directory, names)
    except NoBrowserError as error:
        print(f"drills: {error}", file=sys.stderr)
    return max(codes, default=0)


async def _all(drills: Sequence[Drill], carry_out: CarryOut, *, jobs: int, lane: int) -> list[int]:
    """Carry them out, `jobs` side by side, those of a length together; returns their exit codes.

    Raises KeyboardInterrupt, MendingFailedError, SettingsError: after all that runs is mended.
    """
    left = sorted(drills, key=lambda drill: -drill.holds_seconds) if jobs > 1 else list(drills)
    working = asyncio.create_task(_in_batches(left, carry_out, jobs=jobs, lane=lane))
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, working.cancel)
    try:
        return await working
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None


async def _in_batches(
    drills: Sequence[Drill], carry_out: CarryOut, *, jobs: int, lane: int
) -> list[int]:
    """The next ones begin when all have ended: a start takes both cores for seconds, which a drill
    that runs beside it would take for a fault.
    """
    codes: list[int] = []
    for first in range(0, len(drills), jobs):
        codes += await asyncio.gather(
            *(
                carry_out(drill, lane=number, is_alone=jobs == 1)
                for number, drill in enumerate(drills[first : first + jobs], start=lane)
            )
        )
    return codes


def _of_service(drills: Sequence[Drill], options: argparse.Namespace) -> int:
    """Run the drills of a firedrill.toml in turn; their record stands beside it, for `firedrill check`."""
    for drill in drills:
        described.check_file(SERVED, drill.name)
    settings = read_settings()
    directory = record.place(options.into or settings.service.file.parent / ".local" / "records")

    async def one(drill: Drill, *, lane: int, is_alone: bool) -> int:
        del lane, is_alone
        print(f"\n{drill.name}: {drill.what}", flush=True)
        stage = stage_around()
        carry_out = run.carry_out if stage.is_own else run.carry_out_on_running
        check = partial(described.check_fault, name=drill.name)
        say = partial(_say, "")
        course = await carry_out(drill, stage, seed=options.seed, say=say, check=check)
        return _recorded(course, directory, say, service=SERVED.name)

    codes = asyncio.run(_all(drills, one, jobs=1, lane=0))
    print(f"written: {directory / report.NAME}.json; `./firedrill check` reads it", flush=True)
    return max(codes, default=0)


async def _drill(drill: Drill, *, seed: int, directory: Path, lane: int, is_alone: bool) -> int:
    """Carry one out and record it; returns its exit code."""
    say = partial(_say, "" if is_alone else f"{drill.name}: ")
    print(f"\n{drill.name}: {drill.what}", flush=True)
    try:
        stage = own_stage(drill.environment, lane=lane)
        course = await run.carry_out(drill, stage, seed=seed, say=say)
    except StageError as error:
        print(f"drills: {drill.name}: {error}", file=sys.stderr)
        return 2
    return _recorded(course, directory, say)


def _recorded(course: Course, directory: Path, say: Callable[[str], None], **more: str) -> int:
    """Record a drill, and say how it went; returns its exit code. more: of the row."""
    row = {**more, **judgement.row_of(course)}
    report.keep(directory, row)
    for line in report.summary(row):
        say(line)
    return int(bool(row["problems"]))


def _say(prefix: str, line: str) -> None:
    print(f"  {prefix}{line}", flush=True)


if __name__ == "__main__":
    run_command(
        "drills",
        lambda: main(sys.argv[1:]),
        interrupted="interrupted; what was broken is mended",
    )
