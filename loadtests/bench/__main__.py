"""`python -m loadtests.bench [--against COMMIT] [--quick] [--only PART ...] [--into DIRECTORY]`

What telemetry costs beside what others use, what the service costs beside a bare read, and what both do when
nobody takes their spans. Writes benchmarks.json, benchmarks.md and images/benchmarks.svg. A machine that does
something else is refused, unless --anyway. Exit codes: 0, 1 a mark is missed, 2 it could not run.
"""

import argparse
import asyncio
import contextlib
import os
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from loadtests.bench import against, parts, rounds
from loadtests.bench.generator import require_generator
from loadtests.bench.laboratory import FULL, QUICK, Laboratory
from loadtests.bench.page import publish
from loadtests.record import record
from loadtests.world.collector_process import collector_path, running_collector
from loadtests.world.command import run
from loadtests.world.cores import why_not
from loadtests.world.surroundings import surroundings
from stack.command_line import Parser

LIBRARIES = ("fastapi", "uvicorn", "sqlalchemy", "asyncpg", "opentelemetry-sdk")
CONFIG = Path(__file__).with_name("collector.yaml")


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = Parser(prog="bench", description=__doc__)
    parser.add_argument("--against", metavar="COMMIT", help="another commit, in the same rounds")
    parser.add_argument(
        "--quick", action="store_true", help="one short round: to try it, no figures"
    )
    parser.add_argument("--anyway", action="store_true", help="measure on a busy machine")
    names = list(parts.PARTS)
    parser.add_argument("--only", nargs="+", choices=names, default=names, metavar="PART")
    record.add_into(parser)
    return parser.parse_args(arguments)


async def main(options: argparse.Namespace) -> int:
    if not hasattr(os, "sched_setaffinity"):
        print("bench: needs Linux, which can give a process a core", file=sys.stderr)
        return 2
    core, *others = sorted(os.sched_getaffinity(0))
    if refusal := why_not(others, anyway=options.anyway or options.quick):
        print(f"bench: {refusal}", file=sys.stderr)
        return 2
    require_generator()
    collector_path()
    # Before any other thread or program starts: each inherits it.
    os.sched_setaffinity(0, others)
    started = time.monotonic()
    with contextlib.ExitStack() as stack:
        before = options.against and stack.enter_context(against.checkout(options.against))
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        collector = stack.enter_context(
            running_collector(_made(directory / "collector"), config=CONFIG)
        )
        async with surroundings() as around:
            await parts.prepare(around)
            lab = Laboratory(
                core=core,
                directory=_made(directory / "empty"),
                around=around,
                collector=collector,
                lengths=QUICK if options.quick else FULL,
                say=lambda text: print(text, flush=True),
                stop=threading.Event(),
                kit_before=against.kit(before, directory) if before else None,
                checkout_before=before or None,
            )
            tokens = await parts.tokens(around)
            found: dict[str, Any] = {}
            for name in options.only:
                lab.say(f"{name}, {time.monotonic() - started:.0f} s")
                # In a thread: the provider answers from this one.
                try:
                    found |= await asyncio.to_thread(parts.PARTS[name], lab, tokens)
                except asyncio.CancelledError:
                    lab.stop.set()  # the thread goes on until it next starts a server
                    raise
                except rounds.NotMeasured as error:
                    found.setdefault("not_measured", {})[name] = str(error)
    about = record.about(*LIBRARIES)
    content = {
        **about,
        "against": options.against and against.resolved(options.against),
        "is_quick": options.quick,
        "seconds": round(time.monotonic() - started),
        **found,
    }
    return int(publish(record.place(options.into), content))


def _made(directory: Path) -> Path:
    directory.mkdir()
    return directory


if __name__ == "__main__":
    run("bench", lambda: asyncio.run(main(parse(sys.argv[1:]))))
