"""`python -m loadtests.drills db_pool_exhausted ... | --all | --quick [--seed 1] [--again]`

`--all` runs every drill that the record does not hold yet, so that it can be interrupted and started
again; `--again` runs those too. Exit codes: 0 every drill went as it should, 1 one did not (each is
said), 2 could not run, 130 interrupted, and mended.
"""

import argparse
import asyncio
import signal
import subprocess
import sys
from collections.abc import Sequence

from loadtests.drills.runner import judgement, report, run
from loadtests.drills.runner.drill import Drill, catalogue
from loadtests.drills.runner.stage import Stage, StageError, own_stage
from stack.programs import ProgramsMissing
from stack.settings import SettingsError

QUICK = ("db_pool_exhausted", "validation_break_all_clients")


def parse(arguments: Sequence[str], drills: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="drills",
        description="Breaks one thing on a stack of its own, and watches what pages.",
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(drills))
    parser.add_argument("--all", action="store_true", help="all that the record does not hold yet")
    parser.add_argument("--quick", action="store_true", help=" and ".join(QUICK))
    parser.add_argument("--again", action="store_true", help="also those the record holds")
    parser.add_argument("--seed", type=int, default=1, help="of the load and the moment (1)")
    given = parser.parse_args(arguments)
    if unknown := sorted(set(given.names) - set(drills)):
        parser.error(f"no drill is called {', '.join(unknown)}: {', '.join(drills)}")
    if not (given.names or given.all or given.quick):
        parser.error(f"say which: --all, --quick or a name: {', '.join(drills)}")
    return given


def main(arguments: Sequence[str]) -> int:
    drills = catalogue()
    given = parse(arguments, list(drills))
    names = list(given.names) or list(QUICK if given.quick else drills)
    if given.all and not given.again:
        held = report.held(seed=given.seed)
        names = [name for name in names if name not in held]
        print(f"{len(held)} drills in the record, {len(names)} to go", flush=True)
    passed = [_drill(drills[name], seed=given.seed) for name in names]
    report.write_pages()
    return 0 if all(passed) else 1


def _drill(drill: Drill, *, seed: int) -> bool:
    """Carry one out and record it; returns whether it went as it should."""
    print(f"\n{drill.name}: {drill.what}", flush=True)
    stage = own_stage(drill.environment)
    course = asyncio.run(_carry_out(drill, stage, seed))
    row = judgement.row_of(course)
    report.keep(row)
    print("\n".join(report.summary(row)), flush=True)
    return not row["problems"]


async def _carry_out(drill: Drill, stage: Stage, seed: int) -> run.Course:
    task = asyncio.create_task(run.carry_out(drill, stage, seed=seed, say=_say))
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, task.cancel)
    try:
        return await task
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None


def _say(line: str) -> None:
    print(f"  {line}", flush=True)


def _failed(error: object, code: int) -> int:
    print(f"drills: {error}", file=sys.stderr)
    return code


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except (SettingsError, StageError, ProgramsMissing) as error:
        sys.exit(_failed(error, 2))
    except run.MendingFailedError as error:
        sys.exit(_failed(f"not mended: {error}", 2))
    except subprocess.CalledProcessError as error:
        sys.exit(_failed(error.stderr.decode(errors="replace").strip() or error, 2))
    except KeyboardInterrupt:
        sys.exit(_failed("interrupted; what was broken is mended, and the stack is gone", 130))
