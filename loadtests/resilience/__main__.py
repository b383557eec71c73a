"""`python -m loadtests.resilience [--plain] [--seconds 60] [--only FAULT ...] [--into DIRECTORY]`

Each fault that was measured replaces its row in the record; a void one does not.

Exit codes: 0 every promise kept, 1 one broken (each is printed), 2 could not run, or the generator was late
and the result is void. `--plain` measures the plain configuration, which promises nothing.
"""

import argparse
import asyncio
import itertools
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from loadtests.faults import mending
from loadtests.judge.figures import Figures, figures
from loadtests.observe.exposition import exposition, total
from loadtests.record import record
from loadtests.record import resilience as report
from loadtests.resilience.faults import FAULTS, Measured
from loadtests.traffic.demo_callers import sign_in_demo
from loadtests.traffic.engine import Load
from loadtests.traffic.phases import Phase, arrivals
from loadtests.world.command import run
from loadtests.world.description import DEMO
from loadtests.world.surroundings import (
    Process,
    Surroundings,
    readiness,
    running,
    surroundings,
    versions,
)
from stack.command_line import Parser, number

SEED = 1
LIBRARIES = ("fastapi", "uvicorn", "sqlalchemy", "asyncpg", "httpx")
PATIENCE_SECONDS = 40.0
"""A request without an answer for so long is hanging: the longest deadline is 15 s."""
SETTLE_SECONDS = 1.0
"""From the last answer to counting connections: cleanup in the background has this long."""


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    names = [fault.name for fault in FAULTS]
    parser = Parser(
        prog="resilience",
        description="Breaks one thing after the other under load and writes resilience.md.",
    )
    parser.add_argument("--plain", action="store_true", help="measure the plain configuration")
    parser.add_argument("--seconds", type=number, default=60.0, help="of load a fault (60)")
    parser.add_argument("--only", nargs="+", choices=names, metavar="FAULT", help=", ".join(names))
    record.add_into(parser)
    parsed = parser.parse_args(arguments)
    if not 8 <= parsed.seconds <= 3600:
        parser.error("--seconds: between 8 and 3600")
    return parsed


async def main(options: argparse.Namespace) -> int:
    chosen = [fault for fault in FAULTS if not options.only or fault.name in options.only]
    # Should this process be killed, the guard mends, and takes away what outlives it.
    with (
        tempfile.TemporaryDirectory(prefix="resilience-") as directory,
        mending.Guard(Path(directory), clean=False),
    ):
        return await _measure_all(chosen, options, Path(directory))


async def _measure_all(
    chosen: Sequence[Measured], options: argparse.Namespace, local: Path
) -> int:
    rows: list[Figures] = []
    async with surroundings(local) as around:
        for fault in chosen:
            if fault.needs and fault.needs not in around.proxies:
                print(f"{fault.name:24} left out: no {fault.needs} on this machine", flush=True)
                continue
            row = await _run(fault, around, seconds=options.seconds, plain=options.plain)
            rows.append(row)
            print(_line(row), flush=True)
        about = {
            **record.about(*LIBRARIES, **await versions(around)),
            "seconds_per_fault": options.seconds,
            "requests_per_second": sum(DEMO.mix.values()),
            "seed": SEED,
        }
        configuration = "plain" if options.plain else "firedrill"
        if whole := [row for row in rows if not row.is_void]:
            report.write(record.place(options.into), whole, configuration, about)
    if any(row.is_void for row in rows):
        print("void: the generator was late; run it on a machine with less to do", file=sys.stderr)
        return 2
    return int(not options.plain and any(row.broken_limits() for row in rows))


async def _run(fault: Measured, around: Surroundings, *, seconds: float, plain: bool) -> Figures:
    shipped = DEMO.drill_program if fault.extra else DEMO.program
    async with running(DEMO.plain_program if plain else shipped, around) as process:
        mending.write_down(around.local, around.mends_of_end())
        return await _measure(fault, around, process, seconds)


async def _measure(
    fault: Measured, around: Surroundings, process: Process, seconds: float
) -> Figures:
    broken, mended = seconds / 4, seconds * 3 / 4
    phases = [
        Phase("before", broken, DEMO.mix),
        Phase("broken", mended - broken, DEMO.mix, evenly=fault.extra),
        Phase("after", seconds - mended, DEMO.mix),
    ]
    dues = list(arrivals(phases, seed=SEED))
    url = f"http://127.0.0.1:{process.port}"
    from_all = await sign_in_demo(around, api_url=url, dues=dues)
    readyz: list[int] = []
    load = Load([url], from_all.request, patience_seconds=PATIENCE_SECONDS)
    sending = asyncio.create_task(load.run(dues))
    await asyncio.sleep(broken - load.now)
    async with mending.broken(around, fault.fault):
        entered = load.now
        for at in itertools.count(entered + 1):
            if at > mended:
                break
            await asyncio.sleep(at - load.now)
            readyz.append(await readiness(process))
        await asyncio.sleep(mended - load.now)
    mended = entered if fault.mends_itself else load.now
    await sending
    await asyncio.sleep(SETTLE_SECONDS)
    left = await _connections_left(process, around)
    return figures(
        load.samples,
        broken=broken,
        mended=mended,
        end=seconds,
        fault=fault.name,
        what=fault.what,
        unrelated=fault.unrelated,
        block_seconds=fault.block_seconds,
        readyz=readyz,
        **left,
    )


async def _connections_left(process: Process, around: Surroundings) -> dict[str, int]:
    """What an idle service still holds: checked out of its pool, idle in a transaction."""
    text = await asyncio.to_thread(exposition, process.internal_url)
    idle = await around.ask(
        "SELECT count(*) FROM pg_stat_activity "
        "WHERE application_name = $1 AND state LIKE 'idle in transaction%'",
        DEMO.session_name,
    )
    used = total([text], "db_client_connection_count", state="used")
    return {"checked_out": int(used), "idle_in_transaction": idle}


def _line(row: Figures) -> str:
    share = f"{row.in_time}/{row.requests} in time"
    recovery = "never" if row.recovery is None else f"{row.recovery:.1f} s"
    verdict = "; ".join(row.broken_limits()) or "ok"
    if row.is_void:
        verdict = f"void, generator {row.late_start_p99 * 1000:.0f} ms late; {verdict}"
    return f"{row.fault:24} {share:18} normal after {recovery:7} {verdict}"


if __name__ == "__main__":
    run(
        "resilience",
        lambda: asyncio.run(main(parse(sys.argv[1:]))),
        interrupted="interrupted; what was broken is mended",
    )
