"""The record in JSON, and the page that is written from it."""

import json
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from loadtests.judge.figures import Figures
from loadtests.judge.limits import (
    NORMAL_SHARE,
    RECOVERY_SECONDS_MAX,
    SLOW_SECONDS,
    UNRELATED_FLOOR_SECONDS,
    UNRELATED_RATIO_MAX,
)
from loadtests.resilience.faults import FAULTS
from loadtests.traffic.sample import GRACE_SECONDS

_COMPARABLE = ("seconds_per_fault", "requests_per_second", "seed")
DOCS = Path(__file__).resolve().parents[2] / "docs"
LIBRARIES = ("fastapi", "uvicorn", "sqlalchemy", "asyncpg", "httpx")


def write(
    rows: Sequence[Figures],
    configuration: str,
    about: Mapping[str, Any],
    directory: Path = DOCS,
) -> None:
    """Replace these rows in the configuration's part of the record, and write the page anew.

    Rows of a run with another length, rate or seed would not compare: they are dropped.
    """
    directory.mkdir(exist_ok=True)
    file = directory / "resilience.json"
    record: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {}
    before = record.get(configuration, {})
    kept: dict[str, Any] = {}
    if all(before.get(name) == about[name] for name in _COMPARABLE):
        kept = {row["fault"]: row for row in before["rows"]}
    measured = kept | {row.fault: asdict(row) for row in rows}
    order = [fault.name for fault in FAULTS]
    ordered = sorted(measured.values(), key=lambda row: order.index(row["fault"]))
    record[configuration] = {**about, "rows": ordered}
    file.write_text(json.dumps(record, indent=1) + "\n")
    (directory / "resilience.md").write_text(page(record))


def about(
    command: str, *, postgresql: str, seconds: float, rate: float, seed: int
) -> dict[str, Any]:
    """Return the state beside the figures."""
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "command": command,
        "seconds_per_fault": seconds,
        "requests_per_second": rate,
        "seed": seed,
        **made_on(LIBRARIES, postgresql=postgresql),
    }


def made_on(libraries: Sequence[str], **versions: str) -> dict[str, Any]:
    """Return machine and versions, as the records of load keep them. versions: of what is no library."""
    return {
        "machine": f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}",
        "versions": {
            "python": platform.python_version(),
            **versions,
            **{name: version(name) for name in libraries},
        },
    }


def page(record: Mapping[str, Any]) -> str:
    """Return docs/resilience.md."""
    parts = [_INTRODUCTION]
    for configuration, title in _TITLES.items():
        if configuration in record:
            parts.append(_section(title, record[configuration]))
    parts.append("## What breaks what\n")
    newest = next(iter(record.values()))
    parts.append("".join(f"- `{row['fault']}`: {row['what']}\n" for row in newest["rows"]))
    return "\n".join(parts)


def _section(title: str, part: Mapping[str, Any]) -> str:
    versions = ", ".join(f"{name} {number}" for name, number in part["versions"].items())
    state = (
        f"`{part['command']}` on {part['date']}: {part['machine']}; {versions}. "
        f"{part['seconds_per_fault']:g} s a fault, {part['requests_per_second']:g} requests/s, "
        f"seed {part['seed']}."
    )
    cells = [_row(row) for row in part["rows"]]
    lines = [
        f"## {title}\n",
        f"{state}\n",
        _line(_COLUMNS),
        _line(["---"] * len(_COLUMNS)),
        *cells,
    ]
    return "\n".join([*lines, "", *_shortfalls(part)])


def _shortfalls(part: Mapping[str, Any]) -> list[str]:
    """Return the promises that were not kept, one a line."""
    broken = [
        f"- `{row['fault']}`: {promise}"
        for row in part["rows"]
        for promise in Figures(**row).broken_limits()
    ]
    return ["Fell short:\n", *broken, ""] if broken else ["Every promise was kept.\n"]


def _row(row: Mapping[str, Any]) -> str:
    share = row["in_time"] / row["requests"]
    in_time = f"{share:.2%}" if row["in_time"] < row["requests"] else "100 %"
    late = row["slowest_over_deadline"]
    if share < 1:
        in_time += f", {row['requests'] - row['in_time']} not; worst {late:+.1f} s"
    answers = ", ".join(f"{answer}: {count}" for answer, count in row["answers"].items())
    p99 = [row["unrelated_p99_before"], row["unrelated_p99_during"]]
    unrelated = "-" if None in p99 else " → ".join(f"{value * 1000:.0f}" for value in p99) + " ms"
    recovery = "not reached" if row["recovery"] is None else f"{row['recovery']:.1f} s"
    left = row["checked_out"] + row["idle_in_transaction"]
    readyz = ", ".join(str(status or "silent") for status in row["readyz"])
    cells = [f"`{row['fault']}`", in_time, answers, unrelated, recovery, str(left), readyz]
    return _line(cells)


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


_COLUMNS = (
    "fault",
    "in time",
    "answers while it lasts",
    "unrelated p99",
    "normal after",
    "connections left",
    "`/readyz`",
)
_TITLES = {
    "firedrill": "The service",
    "plain": "The same routes, plain",
}
_INTRODUCTION = f"""# What the service answers while something is broken

Written by `make resilience` (`python -m loadtests.resilience`), never by hand; the record is
[resilience.json](resilience.json).

Requests leave when they are due, over all routes, whatever became of those before (open loop), and are
timed from then. One fault at a time, on a service started afresh: a quarter of the time before it, half of
it broken, a quarter mended.

- **in time**: answered within the route's deadline + {GRACE_SECONDS:g} s (reads 2 s, writes 3 s, sign-in 5 s,
  sync 15 s), before, during and after; for `loop_blocked` plus the 3 s in which nothing can run.
  Promised: all.
- **unrelated p99**: before and during, of the routes that do not need what is broken; with the database
  away that is one route. Promised: at most {UNRELATED_RATIO_MAX:g} times as before, or under
  {UNRELATED_FLOOR_SECONDS * 1000:g} ms.
- **normal after**: from the mend until no request fails or is late any more and {NORMAL_SHARE:.0%} of a
  second's answers take less than {SLOW_SECONDS * 1000:g} ms. Promised: {RECOVERY_SECONDS_MAX:g} s.
- **connections left**: checked out or idle in a transaction, after the last answer. Promised: 0.
- **`/readyz`**: what a balancer was told while it lasted. A database that every replica shares is no reason
  to take all of them away; a schema object that this version needs is.

The plain configuration is the same code without its pool limits, statement limits, deadlines, admission,
retries towards the provider and breaker: SQLAlchemy's pool as it comes (5 + 10 connections, 30 s, no ping),
httpx' 5 s. Its errors still have names, and a read is still tried twice.
"""
