"""`python -m loadtests.costs.cache`: whether settings that are read from the shared cache pay.

One replica under the steady mix, with and without, in turn; its own database and cache. Writes
cache_settings.json and cache_settings.md. Exit codes: 0, 2 could not run, or the generator was late and the
result is void.
"""

import argparse
import asyncio
import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from loadtests.observe.exposition import exposition, total
from loadtests.record import record
from loadtests.record.markdown import heading, made, table
from loadtests.traffic.demo_callers import sign_in_demo
from loadtests.traffic.engine import Load
from loadtests.traffic.phases import Phase, arrivals
from loadtests.world.command import run
from loadtests.world.description import DEMO
from loadtests.world.surroundings import Surroundings, running, surroundings
from stack.command_line import Parser, above_zero, whole

ROUTE = "GET /api/v1/settings"
LATE_SECONDS = 0.05
"""p99 of how late a request was sent, above which its time is not the service's."""
STATEMENTS = "db_client_operation_duration_seconds_count"
CASES: Mapping[str, str] = {"database": "false", "cache": "true"}
FIGURES: Mapping[str, str] = {
    "requests": "requests of the settings",
    "hit_ratio": "of them found in the cache",
    "p50_ms": "p50, ms",
    "p99_ms": "p99, ms",
    "statements_per_request": "statements a request, whole mix",
    "cpu_ms_per_request": "CPU of the service a request, whole mix, ms",
}


async def measure(
    around: Surroundings, case: str, *, seconds: float, seed: int
) -> dict[str, float]:
    """One round of one case, warm. The figures of FIGURES, and how late the generator was."""
    environment = {**around.environment, "CACHE_SETTINGS": CASES[case]}
    async with running(DEMO.program, replace(around, environment=environment)) as process:
        dues = list(arrivals([Phase("steady", seconds, DEMO.steady_mix)], seed=seed))
        url = f"http://127.0.0.1:{process.port}"
        from_all = await sign_in_demo(around, api_url=url, dues=dues)
        before = await asyncio.to_thread(exposition, process.internal_url)
        load = Load([url], from_all.request, patience_seconds=40)
        await load.run(dues)
        after = await asyncio.to_thread(exposition, process.internal_url)

    def grown(name: str, **labels: str) -> float:
        return total([after], name, **labels) - total([before], name, **labels)

    settings = sorted(one.seconds * 1000 for one in load.samples if one.route == ROUTE)
    late = sorted(one.late_seconds for one in load.samples)
    found = {
        result: grown("cache_operations_total", purpose="settings", result=result)
        for result in ("hit", "miss")
    }
    statements = grown(STATEMENTS) - grown(STATEMENTS, db_system_name="redis")
    return {
        "requests": len(settings),
        "hit_ratio": found["hit"] / max(1.0, found["hit"] + found["miss"]),
        "p50_ms": settings[len(settings) // 2],
        "p99_ms": settings[int(len(settings) * 0.99)],
        "statements_per_request": statements / len(load.samples),
        "cpu_ms_per_request": grown("process_cpu_seconds_total") * 1000 / len(load.samples),
        "late_p99_seconds": late[int(len(late) * 0.99)],
    }


def page(content: Mapping[str, Any]) -> str:
    """The page, from the record alone: medians of the rounds."""
    rows = [
        (what, *(f"{content['cases'][case][name]:.2f}" for case in CASES))
        for name, what in FIGURES.items()
    ]
    lines = [
        *heading(
            "Settings from the shared cache", "python -m loadtests.costs.cache", "cache_settings"
        ),
        f"{made(content)}; {content['rounds']} rounds of {content['seconds']:g} s each, medians.",
        "",
        *table(("", "from the database", "from the cache"), rows, right=True),
    ]
    return "\n".join(lines) + "\n"


async def main(options: argparse.Namespace) -> int:
    rounds: dict[str, list[dict[str, float]]] = {case: [] for case in CASES}
    with tempfile.TemporaryDirectory(prefix="cache-settings-") as directory:
        async with surroundings(Path(directory)) as around:
            if around.cache is None:
                print("cache: neither Valkey nor Redis is on this machine", file=sys.stderr)
                return 2
            for number in range(options.rounds):
                for case in CASES:
                    found = await measure(around, case, seconds=options.seconds, seed=number + 1)
                    rounds[case].append(found)
                    print(
                        case, {name: round(value, 3) for name, value in found.items()}, flush=True
                    )
    medians = {
        case: {
            name: statistics.median(one[name] for one in measured)
            for name in (*FIGURES, "late_p99_seconds")
        }
        for case, measured in rounds.items()
    }
    content = {
        **record.about("redis", "sqlalchemy", "asyncpg"),
        "rounds": options.rounds,
        "seconds": options.seconds,
        "cases": medians,
    }
    record.publish(record.place(options.into), "cache_settings", content, page(content))
    if any(case["late_p99_seconds"] > LATE_SECONDS for case in medians.values()):
        print("void: the generator was late; run it on a machine with less to do", file=sys.stderr)
        return 2
    return 0


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = Parser(prog="cache", description=__doc__)
    parser.add_argument("--rounds", type=whole(1, 100), default=3, help="of each case (3)")
    parser.add_argument("--seconds", type=above_zero, default=60.0, help="of load a round (60)")
    record.add_into(parser)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    run("cache", lambda: asyncio.run(main(parse(sys.argv[1:]))))
