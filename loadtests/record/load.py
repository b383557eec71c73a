"""`python -m loadtests.record.load [--only SCENARIO ...]`: the scenarios, measured, for docs/load.md.

On a system of its own: PostgreSQL, the provider, and as many replicas as the scenario needs, first the
service as it is, then with two replicas, then the plain configuration (`loadtests.world.plain_app`),
for those scenarios that compare. A void run does not replace one that was not. Exit codes: 0, 1 a limit
is broken, 2 a run is void or could not run.
"""

import argparse
import asyncio
import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from loadtests.record.marks import between
from loadtests.record.resilience import made_on
from loadtests.scenarios import SCENARIOS
from loadtests.traffic import launch
from loadtests.traffic.callers import older_tokens
from loadtests.traffic.launch import RATE, Target
from loadtests.world import plain_app
from loadtests.world.surroundings import (
    ServiceNotReadyError,
    Surroundings,
    running,
    surroundings,
    versions,
)
from service.migrations.commands import Refused
from stack.command_line import Parser
from stack.postgres import PostgresError
from stack.settings import ROOT

SCENARIOS_OF: Mapping[str, Sequence[str]] = {
    "firedrill": tuple(SCENARIOS),
    "two_replicas": ("capacity", "pool_exhaustion"),
    "plain": ("pool_exhaustion", "oauth_refresh"),
}
"""By configuration, in the order in which they run."""
SECONDS: Mapping[str, float] = {"steady": 60.0}
"""Of those whose own length is too long for a report."""
LEFT_OUT = frozenset({"soak"})
REPLICAS: Mapping[str, int] = {"oauth_refresh": 2}
"""Of those that need more than one in any configuration."""
LIBRARIES = ("locust", "fastapi", "uvicorn", "sqlalchemy", "asyncpg")
DOCS = ROOT / "docs"


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = Parser(prog="load-report", description=__doc__)
    names = [name for name in SCENARIOS if name not in LEFT_OUT]
    parser.add_argument("--only", nargs="+", choices=names, default=names, metavar="SCENARIO")
    parser.add_argument("--rate", type=float, default=RATE, help=f"requests a second ({RATE:g})")
    return parser.parse_args(arguments)


async def main(options: argparse.Namespace) -> int:
    codes = []
    for configuration, names in SCENARIOS_OF.items():
        chosen = [name for name in options.only if name in names]
        if not chosen:
            continue
        async with surroundings() as around:
            about = made_on(LIBRARIES, **await versions(around))
            for name in chosen:
                row = await _run(name, configuration, around, rate=options.rate)
                codes.append(_code(row) if configuration != "plain" else 0)
                _keep(configuration, row | about)
    return max(codes)


def _code(row: Mapping[str, Any]) -> int:
    if row["void"]:
        return 2
    return int(any(not limit["holds"] for limit in row["limits"]))


async def _run(
    name: str, configuration: str, around: Surroundings, *, rate: float
) -> dict[str, Any]:
    is_plain = configuration == "plain"
    module = "loadtests.world.plain_app" if is_plain else "service"
    environment = plain_app.ENVIRONMENT if is_plain else {}
    count = 2 if configuration == "two_replicas" else REPLICAS.get(name, 1)
    print(f"\n{name}, {configuration}", flush=True)
    async with AsyncExitStack() as stack:
        replicas = [
            await stack.enter_async_context(running(module, around, environment))
            for _ in range(count)
        ]
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="load-")))
        tokens = directory / "tokens.json"
        tokens.write_text(json.dumps(await older_tokens(around.owner, around.config)))
        target = Target(
            [f"http://127.0.0.1:{process.port}" for process in replicas],
            [process.internal_url for process in replicas],
            around.provider_url,
            around.postgres.dsn("owner"),
            str(tokens),
        )
        words = launch.command(
            name, target, rate=rate, seconds=SECONDS.get(name), reports=directory / "locust"
        )
        record = directory / "record.json"
        code = await asyncio.to_thread(
            launch.run, [*words, "--only-summary"], target, record=record
        )
        if not record.exists():
            raise ServiceNotReadyError(f"{name}: Locust ended with {code} and no record")
        found: dict[str, Any] = json.loads(record.read_text())
    return found | {"replicas": len(replicas)}


def _keep(configuration: str, row: Mapping[str, Any], directory: Path = DOCS) -> None:
    """Put the row into the record, unless it is void and there is one that is not; write the page."""
    file = directory / "load.json"
    record: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {}
    rows = record.setdefault(configuration, {})
    before = rows.get(row["scenario"])
    if before is None or before["void"] or not row["void"]:
        rows[row["scenario"]] = dict(row)
    file.write_text(json.dumps(record, indent=1) + "\n")
    (directory / "load.md").write_text(page(record))
    readme = directory.parent / "README.md"
    if readme.exists():
        readme.write_text(readme_with(readme.read_text(), record))


QUOTED = (
    (
        "pool_exhaustion",
        "answers beyond the deadline",
        "a locked table, then three times the capacity: answers beyond their deadline",
    ),
    ("pool_exhaustion", "recovery after surge", "the same: seconds until all is served again"),
    (
        "oauth_refresh",
        "callers served",
        "40 callers at once on 10 expired grants, five times, strict rotation: served, of 200",
    ),
    ("oauth_refresh", "provider calls a grant", "the same: calls to the provider a grant"),
)
"""What the README says of both configurations: scenario, figure, and the figure in words."""


def readme_with(text: str, record: Mapping[str, Mapping[str, Any]]) -> str:
    """The README with the figures of this record; of runs that are not void."""
    ours, plain = (
        {
            (name, limit["name"]): limit["figure"]
            for name, row in record.get(configuration, {}).items()
            if not row["void"]
            for limit in row["limits"]
        }
        for configuration in ("firedrill", "plain")
    )
    lines = ["| | Firedrill | plain |", "|---|---:|---:|"]
    lines += [
        f"| {told} | {_number(ours.get((scenario, figure)))} | {_number(plain.get((scenario, figure)))} |"
        for scenario, figure, told in QUOTED
    ]
    capacity = ours.get(("capacity", "capacity"))
    lines += [
        "",
        f"`make load SCENARIO=capacity` on two cores: {_number(capacity)} requests served a second.",
    ]
    return between(text, "load", "\n".join(lines))


def page(record: Mapping[str, Mapping[str, Any]]) -> str:
    """The record as Markdown."""
    rows = record.get("firedrill", {})
    two, plain = record.get("two_replicas", {}), record.get("plain", {})
    some = next(iter([*rows.values(), *plain.values()]))
    told = ", ".join(f"{name} {number}" for name, number in some["versions"].items())
    lines = [
        "# Load: what the service does under it",
        "",
        "Written by `make load-report` from [load.json](load.json), never by hand. Arrivals are",
        "open-loop, and time counts from when a request was due. Generator, service, PostgreSQL and",
        "provider share one machine, so that the figures are those of the machine; the limits are",
        "ratios within one run, or the contract's deadlines.",
        "",
        f"Machine: {some['machine']}. Versions: {told}.",
        "",
        "| scenario | what | date | requests | generator late, p99 | verdict |",
        "|---|---|---|---|---|---|",
        *(_summary(name, rows[name]) for name in SCENARIOS if name in rows),
    ]
    missing = [f"`{name}`" for name in SCENARIOS if name not in rows]
    if missing:
        lines += ["", f"Not in the record: {', '.join(missing)}."]
    for name in SCENARIOS:
        if name in rows and name in plain:
            told = (
                "Plain: SQLAlchemy's pool as it comes (5 + 10 connections, 30 s), no deadline, no"
                " admission, no breaker, and whoever finds a token expired refreshes it."
            )
            lines += _beside(
                f"{name}: beside a plain configuration", told, rows[name], plain[name], "plain"
            )
    for name in SCENARIOS:
        if name in rows and name in two:
            told = f"On the same cores; two replicas: {_verdict(two[name])}."
            lines += _beside(
                f"{name}: beside two replicas", told, rows[name], two[name], "two replicas"
            )
    for name in SCENARIOS:
        if name in rows:
            lines += _each(name, rows[name])
    return "\n".join(lines) + "\n"


def _summary(name: str, row: Mapping[str, Any]) -> str:
    late = max((phase.get("late_seconds_p99", 0.0) for phase in row["phases"]), default=0.0)
    return (
        f"| [{name}](#{name}) | {SCENARIOS[name].what} | {row['date'][:10]} | {row['requests']} |"
        f" {late * 1000:.1f} ms | {_verdict(row)} |"
    )


def _verdict(row: Mapping[str, Any]) -> str:
    if row["void"]:
        return f"void: {row['void']}"
    broken = [limit["name"] for limit in row["limits"] if not limit["holds"]]
    return f"broken: {', '.join(broken)}" if broken else "as it should be"


def _beside(
    heading: str,
    told: str,
    row: Mapping[str, Any],
    beside: Mapping[str, Any],
    column: str,
) -> list[str]:
    """Two configurations side by side; a figure that only one of them has is told as well."""
    figures = {limit["name"]: limit["figure"] for limit in beside["limits"]}
    ours = {limit["name"]: limit for limit in row["limits"]}
    names = [*ours, *(one for one in figures if one not in ours)]
    lines = [
        *("", f"## {heading}", ""),
        told + (f" Void: {beside['void']}." if beside["void"] else ""),
        "",
        f"| figure | limit | Firedrill | {column} |",
        "|---|---|---|---|",
    ]
    for one in names:
        ours_figure = ours[one]["figure"] if one in ours else None
        unit = ours[one]["unit"] if one in ours else ""
        bound = _bound(ours[one]) if one in ours else ""
        lines.append(
            f"| {one}{f' ({unit})' if unit else ''} | {bound} | {_number(ours_figure)} |"
            f" {_number(figures.get(one))} |"
        )
    return lines


def _each(name: str, row: Mapping[str, Any]) -> list[str]:
    replicas = f"{row['replicas']} replica{'s' * (row['replicas'] > 1)}"
    told = f"{row['rate']:g} requests a second, seed {row['seed']}, {replicas}: {_verdict(row)}."
    return [
        "",
        f"## {name}",
        "",
        f"`make load SCENARIO={name}`, {told}",
        "",
        "| figure | measured | limit |",
        "|---|---|---|",
        *(
            f"| {limit['name']} | {_number(limit['figure'])} {limit['unit']} | {_bound(limit)} |"
            for limit in row["limits"]
        ),
        "",
        "| phase | requests | served/s | p50 s | p99 s | statuses | codes |",
        "|---|---|---|---|---|---|---|",
        *(_phase(phase) for phase in row["phases"] if phase["requests"]),
    ]


def _phase(phase: Mapping[str, Any]) -> str:
    def counted(found: Mapping[str, int]) -> str:
        return ", ".join(f"{name}: {count}" for name, count in found.items())

    return (
        f"| {phase['name']} | {phase['requests']} | {phase['goodput']} |"
        f" {_number(phase.get('seconds_p50'))} | {_number(phase.get('seconds_p99'))} |"
        f" {counted(phase['statuses'])} | {counted(phase['codes'])} |"
    )


def _bound(limit: Mapping[str, Any]) -> str:
    if limit["most"] is not None and limit["most"] == limit["least"]:
        return f"{limit['most']:g}"
    if limit["most"] is not None:
        return f"<= {limit['most']:g}"
    return f">= {limit['least']:g}" if limit["least"] is not None else ""


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"


if __name__ == "__main__":
    try:
        sys.exit(asyncio.run(main(parse(sys.argv[1:]))))
    except (PostgresError, Refused, ServiceNotReadyError) as error:
        print(f"load-report: {error}", file=sys.stderr)
        sys.exit(2)
