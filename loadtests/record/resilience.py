"""The record of the faults under load, resilience.json, and its page."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
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
from loadtests.record import markdown, record
from loadtests.traffic.sample import GRACE_SECONDS

_COMPARABLE = ("seconds_per_fault", "requests_per_second", "seed")


def write(
    directory: Path, rows: Sequence[Figures], configuration: str, about: Mapping[str, Any]
) -> None:
    """Replace these rows in the configuration's part of the record, and write the page anew.

    about: as record.about gives it, with what makes rows comparable.
    """
    content = record.read(directory / "resilience.json")
    put(content, configuration, {**about, "rows": [asdict(row) for row in rows]})
    record.publish(directory, "resilience", content, page(content))


def put(content: dict[str, Any], configuration: str, part: Mapping[str, Any]) -> None:
    """Rows of a run with another length, rate or seed would not compare: they are dropped."""
    before = content.get(configuration, {})
    kept: dict[str, Any] = {}
    if all(before.get(name) == part[name] for name in _COMPARABLE):
        kept = {row["fault"]: row for row in before["rows"]}
    measured = kept | {row["fault"]: row for row in part["rows"]}
    content[configuration] = {**part, "rows": list(measured.values())}


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
    state = (
        f"`{part['command']}`: {markdown.made(part)}. {part['seconds_per_fault']:g} s a fault,"
        f" {part['requests_per_second']:g} requests/s, seed {part['seed']}."
    )
    rows = markdown.table(_COLUMNS, map(_row, part["rows"]))
    return "\n".join([f"## {title}\n", f"{state}\n", *rows, "", *_shortfalls(part)])


def _shortfalls(part: Mapping[str, Any]) -> list[str]:
    """Return the promises that were not kept, one a line."""
    broken = [
        f"- `{row['fault']}`: {promise}"
        for row in part["rows"]
        for promise in Figures(**row).broken_limits()
    ]
    return ["Fell short:\n", *broken, ""] if broken else ["Every promise was kept.\n"]


def _row(row: Mapping[str, Any]) -> list[str]:
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
    return [f"`{row['fault']}`", in_time, answers, unrelated, recovery, str(left), readyz]


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

Written by `make record` from [resilience.json](resilience.json), never by hand; `make resilience`
writes the like of one's own.

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
- **`/readyz`**: what a balancer saw while it lasted. A database that every replica shares is no reason
  to take all of them away; a schema object that this version needs is.

The plain configuration is the same code without its pool limits, statement limits, deadlines, admission,
retries towards the provider and breaker: SQLAlchemy's pool as it comes (5 + 10 connections, 30 s, no ping),
httpx' 5 s. Its errors still have names, and a read is still tried twice.
"""
