"""The figures of the drills that the README quotes, written between its marks and never by hand."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from loadtests.judge.scores import Row, totals
from loadtests.record.marks import between


def told(text: str, record: Mapping[str, Any], quick: Collection[str]) -> str:
    """The README with the figures of this record. quick: the drills that are part of the tests."""
    rows: Sequence[Row] = record["drills"]
    text = between(text, "scores", _scores(rows, record["repeats"]))
    table = memory_table([row for row in rows if row["name"] in quick])
    return between(text, "memory", "\n".join(table))


def _scores(rows: Sequence[Row], repeats: Sequence[Row]) -> str:
    scores = totals([*rows, *repeats])
    quiet = [row for row in rows if not row["expected"]]
    minutes = sum(row["bins"][-1]["at"] for row in quiet if row["bins"]) / 60
    short = sorted({row["name"] for row in [*rows, *repeats] if row["problems"]})
    share = {name: f"{100 * (scores[name] or 0):.3g} %" for name in ("recall", "precision")}
    lines = [
        "| on record | |",
        "|---|---:|",
        f"| drills, runs with other seeds | {len(rows)}, {len(repeats)} |",
        f"| recall: faults whose pages all came in time | {share['recall']} |",
        f"| precision: pages that a fault was to cause | {share['precision']} |",
        f"| first page named the cause | {100 * (scores['attribution'] or 0):.3g} % |",
        f"| pages a fault | {scores['pages_per_fault']:g} |",
        (
            "| seconds from the fault to the pager, p50, p95 |"
            f" {scores['detect_seconds_p50']:.0f}, {scores['detect_seconds_p95']:.0f} |"
        ),
        (
            f"| pages in {minutes:.0f} minutes of {len(quiet)} drills that must not page |"
            f" {scores['quiet_pages']} |"
        ),
        f"| fell short, see the report | {', '.join(short) or 'none'} |",
    ]
    return "\n".join(lines)


def memory_table(rows: Sequence[Row]) -> list[str]:
    """The most that each part took in any of these drills; empty when none of them has it."""
    peaks: dict[str, int] = {}
    for row in rows:
        for part, count in (row.get("memory_peak_bytes") or {}).items():
            peaks[part] = max(peaks.get(part, 0), count)
    if not peaks:
        return []
    everything = peaks.pop("all")
    return [
        *("| part | MB |", "|---|---:|"),
        *(
            f"| {part} | {count / 1e6:.0f} |"
            for part, count in sorted(peaks.items(), key=lambda one: -one[1])
        ),
        f"| **all, at the same moment** | **{everything / 1e6:.0f}** |",
    ]
