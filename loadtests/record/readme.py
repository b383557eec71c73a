"""The figures that the README quotes, written between its marks by `make record` and never by hand."""

from collections.abc import Mapping, Sequence
from typing import Any

from loadtests.judge.scores import Row, totals
from loadtests.record.load import measured
from loadtests.record.markdown import between, figure, table

QUICK = ("db_pool_exhausted", "validation_break_all_clients")
"""The drills that are part of `make test`."""


def drill_figures(text: str, record: Mapping[str, Any]) -> str:
    """The README with the figures of this record."""
    rows: Sequence[Row] = record["drills"]
    text = between(text, "scores", _scores(rows, record["repeats"], record.get("void", ())))
    memory = memory_table([row for row in rows if row["name"] in QUICK])
    return between(text, "memory", "\n".join(memory))


def _scores(rows: Sequence[Row], repeats: Sequence[Row], void: Sequence[Row]) -> str:
    scores = totals([*rows, *repeats])
    quiet = [row for row in rows if not row["expected"]]
    minutes = sum(row["load_seconds"] for row in quiet) / 60
    short = sorted({row["name"] for row in [*rows, *repeats] if row["problems"]})
    share = {name: f"{100 * (scores[name] or 0):.3g} %" for name in ("recall", "precision")}
    return "\n".join(
        table(
            ("on record", ""),
            [
                (
                    "drills, runs with other seeds, void runs",
                    f"{len(rows)}, {len(repeats)}, {len(void)}",
                ),
                ("recall: faults whose pages all came in time", share["recall"]),
                ("precision: pages that a fault was to cause", share["precision"]),
                ("first page named the cause", f"{100 * (scores['attribution'] or 0):.3g} %"),
                ("pages a fault", figure(scores["pages_per_fault"])),
                (
                    "seconds from the fault to the pager, p50, p95",
                    ", ".join(
                        figure(scores[name] and round(scores[name]))
                        for name in ("detect_seconds_p50", "detect_seconds_p95")
                    ),
                ),
                (
                    f"pages in {minutes:.0f} minutes of {len(quiet)} drills that must not page",
                    scores["quiet_pages"],
                ),
                ("fell short, see the report", ", ".join(short) or "none"),
            ],
            right=True,
        )
    )


def memory_table(rows: Sequence[Row]) -> list[str]:
    """The most that each part took in any of these drills; empty when none of them has it."""
    peaks: dict[str, int] = {}
    for row in rows:
        for part, count in (row.get("memory_peak_bytes") or {}).items():
            peaks[part] = max(peaks.get(part, 0), count)
    if not peaks:
        return []
    everything = peaks.pop("all")
    parts = sorted(peaks.items(), key=lambda one: -one[1])
    cells = [(part, f"{count / 1e6:.0f}") for part, count in parts]
    total = ("**all, at the same moment**", f"**{everything / 1e6:.0f}**")
    return table(("part", "MB"), [*cells, total], right=True)


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


def load_figures(text: str, record: Mapping[str, Mapping[str, Any]]) -> str:
    """The README with the figures of this record; of runs that are not void."""
    ours, plain = (
        {
            (name, limit["name"]): limit
            for name, row in record.get(configuration, {}).items()
            if not row["void"]
            for limit in row["limits"]
        }
        for configuration in ("firedrill", "plain")
    )
    rows = [
        (words, measured(ours.get((scenario, figure))), measured(plain.get((scenario, figure))))
        for scenario, figure, words in QUOTED
    ]
    capacity = measured(ours.get(("capacity", "capacity")))
    lines = [
        *table(("", "Firedrill", "plain"), rows, right=True),
        "",
        f"`make load SCENARIO=capacity` on two cores: {capacity} requests served a second.",
    ]
    return between(text, "load", "\n".join(lines))
