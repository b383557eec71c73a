"""`python -m loadtests.report [--only SCENARIO ...] [--configuration NAME] [--into DIRECTORY]`

The scenarios, measured on a system of its own: PostgreSQL, the provider, and as many replicas as the
scenario needs, first the service as it is, then with two replicas, then the plain configuration
(`loadtests.world.plain_app`), for those scenarios that compare. Writes load.json and load.md. A void run
does not replace one that was not. Exit codes: 0, 1 a limit is broken, 2 a run is void or could not run.
"""

import argparse
import asyncio
import sys
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Any

from loadtests.record import load, record
from loadtests.record.plan import CONFIGURATIONS
from loadtests.scenarios import SCENARIOS
from loadtests.traffic import launch
from loadtests.traffic.demo_callers import older_tokens
from loadtests.traffic.launch import RATE, Target
from loadtests.world.command import run
from loadtests.world.description import DEMO
from loadtests.world.surroundings import (
    Surroundings,
    running,
    surroundings,
    versions,
)
from stack.command_line import Parser, above_zero

SECONDS: Mapping[str, float] = {"steady": 60.0, "soak": 600.0}
"""Seconds of the scenarios whose own length is too long for a report."""
REPLICAS: Mapping[str, int] = {"oauth_refresh": 2}
"""Replicas of the scenarios that need more than one in any configuration."""
LIBRARIES = ("locust", "fastapi", "uvicorn", "sqlalchemy", "asyncpg")


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = Parser(prog="load-report", description=__doc__)
    names = list(SCENARIOS)
    parser.add_argument("--only", nargs="+", choices=names, default=names, metavar="SCENARIO")
    parser.add_argument(
        "--rate", type=above_zero, default=RATE, help=f"requests a second ({RATE:g})"
    )
    parser.add_argument("--configuration", choices=list(CONFIGURATIONS), help="one of them (all)")
    record.add_into(parser)
    return parser.parse_args(arguments)


async def main(options: argparse.Namespace) -> int:
    codes = [0]
    directory = record.place(options.into)
    for configuration, names in CONFIGURATIONS.items():
        if options.configuration not in {None, configuration}:
            continue
        chosen = [name for name in options.only if name in names]
        if not chosen:
            continue
        async with surroundings() as around:
            found = await versions(around)
            for name in chosen:
                row = await _run(name, configuration, around, rate=options.rate)
                codes.append(_code(row, promises=configuration != "plain"))
                load.keep(directory, configuration, row | record.about(*LIBRARIES, **found))
    return max(codes)


def _code(row: Mapping[str, Any], *, promises: bool) -> int:
    if row["void"]:
        return 2
    return int(promises and any(not limit["holds"] for limit in row["limits"]))


async def _run(
    name: str, configuration: str, around: Surroundings, *, rate: float
) -> dict[str, Any]:
    is_plain = configuration == "plain"
    module = DEMO.plain_program if is_plain else DEMO.program
    count = 2 if configuration == "two_replicas" else REPLICAS.get(name, 1)
    print(f"\n{name}, {configuration}", flush=True)
    async with AsyncExitStack() as stack:
        replicas = [await stack.enter_async_context(running(module, around)) for _ in range(count)]
        target = Target(
            [f"http://127.0.0.1:{process.port}" for process in replicas],
            [process.internal_url for process in replicas],
            around.provider_url,
            around.dsn("owner"),
        )
        found = await asyncio.to_thread(
            launch.measured,
            name,
            target,
            tokens=await older_tokens(around),
            rate=rate,
            seconds=SECONDS.get(name),
        )
    what = {"what": SCENARIOS[name].what, "seconds": SECONDS.get(name)}
    return found | what | {"replicas": len(replicas)}


if __name__ == "__main__":
    run("load-report", lambda: asyncio.run(main(parse(sys.argv[1:]))))
