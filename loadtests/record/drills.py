"""The record of the drills, docs/drills.json, and what is written from it and never by hand."""

import json
import os
import platform
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from loadtests.drills.runner.drill import Drill, catalogue
from loadtests.judge.scores import Row, confusion, totals
from loadtests.observe import runbooks
from loadtests.observe.watch import REFERENCES
from loadtests.record import picture, readme
from loadtests.world.description import DEMO
from stack.settings import ROOT

DOCS = ROOT / "docs"
RECORD = DOCS / "drills.json"
README = ROOT / "README.md"
QUICK = ("db_pool_exhausted", "validation_break_all_clients")
"""The drills that are part of `make test`."""


def read() -> dict[str, Any]:
    if not RECORD.exists():
        return {"totals": {}, "drills": [], "repeats": []}
    record: dict[str, Any] = json.loads(RECORD.read_text())
    return record


def held(*, seed: int) -> set[str]:
    """Names of the drills that the record holds for this seed."""
    record = read()
    return {row["name"] for row in record["drills"] + record["repeats"] if row["seed"] == seed}


def keep(row: Row) -> None:
    """Put a row into the record in place of its predecessor; another seed's is a repeat."""
    record = read()
    dated = {**row, "date": datetime.now(UTC).strftime("%Y-%m-%d"), "machine": _machine()}
    first = next((one for one in record["drills"] if one["name"] == row["name"]), None)
    place = "drills" if first is None or first["seed"] == row["seed"] else "repeats"
    record[place] = [
        *(
            one
            for one in record[place]
            if (one["name"], one["seed"]) != (row["name"], row["seed"])
        ),
        dated,
    ]
    record["drills"].sort(key=lambda one: one["name"])
    record["totals"] = totals(record["drills"])
    DOCS.mkdir(exist_ok=True)
    unfinished = RECORD.with_suffix(".unfinished")
    unfinished.write_text(json.dumps(record, indent=1) + "\n")
    unfinished.rename(RECORD)


def write_pages(names: Collection[str] = ()) -> None:
    """Write the page, and draw the timelines of these drills and those that are missing.

    Raises picture.NoBrowserError, after the page is written.
    """
    record = read()
    (DOCS / "drills.md").write_text(page(record, catalogue()))
    runbooks.stamp(record)
    README.write_text(readme.told(README.read_text(), record, QUICK))
    images = DOCS / "images"
    images.mkdir(exist_ok=True)
    rows = [
        row
        for row in record["drills"]
        if row["name"] in names or not picture.file_of(images, row).exists()
    ]
    if rows:
        picture.draw(rows, images)


def summary(row: Row) -> list[str]:
    """How a drill went, for the terminal."""
    hops = ", ".join(
        f"{name.replace('_', ' ')} {seconds:.0f} s"
        for name, seconds in row["hops"].items()
        if seconds is not None
    )
    lines = [f"hops since the break: {hops}"] if hops else []
    if row["resolve_seconds"] is not None:
        lines.append(f"resolved {row['resolve_seconds']:.0f} s after the mend")
    lines.append(
        f"{row['pages']} pages; {row['requests']} requests, {row['requests_failed']} of them failed"
    )
    verdict = "as it should be" if not row["problems"] else "NOT: " + "; ".join(row["problems"])
    return [*lines, verdict]


def page(record: Mapping[str, Any], drills: Mapping[str, Drill]) -> str:
    """The whole page, as Markdown."""
    rows: Sequence[Row] = record["drills"]
    ran = {row["name"] for row in rows}
    lines = [
        "# Drills: every page made to fire by a real fault",
        "",
        "Written by `make drills` from [drills.json](drills.json), never by hand. Each drill starts a",
        "stack of its own on fresh data with three hours of back-filled history, sends open-loop load",
        (
            f"({sum(DEMO.steady_mix.values()):g} requests a second, three client versions), breaks one"
            " thing, waits for the page,"
        ),
        "mends, and waits until it is resolved. Times count from the break to the pager.",
        f"Machine: {_machines(rows)}; scrape and evaluation 5 s, group_wait 5 s.",
        "",
        *_totals(record),
        *_table(rows),
        *_not_run(drills, ran),
        *_repeats(record),
        *_references(rows),
        *_signals(rows),
        *_memory(rows),
        *_confusion(rows),
        *_each(rows),
    ]
    return "\n".join(lines) + "\n"


def _signals(rows: Sequence[Row]) -> list[str]:
    """What the drills left in dashboards and exemplars; of rows that have it."""
    found = [row for row in rows if "panels" in row]
    if not found:
        return []
    return [
        "## The signals after each drill",
        "",
        "Every query of every dashboard, asked after the drill: those that must have data (all but what",
        "`dashboards/empty_when_healthy.yaml` lists for another drill), and every exemplar, followed to its",
        "trace and its log line. Runbook: whether its first query had data while the fault lasted.",
        "",
        (
            "| drill | queries | must have data, and have | without | exemplars | to a trace | to a line"
            " | runbook |"
        ),
        "|---|---|---|---|---|---|---|---|",
        *(_signal(row) for row in found),
        "",
    ]


def _signal(row: Row) -> str:
    panels, exemplars = row["panels"], row["exemplars"]
    wrong = [*panels["unproven"], *panels["errors"], *panels["warnings"]]
    return (
        f"| {row['name']} | {panels['queries']} | {panels['share_of_required_with_data']:.1%} |"
        f" {'; '.join(wrong) or '-'} | {exemplars['count']} | {exemplars['with_trace']} |"
        f" {exemplars['with_line']} | {_confirmed(row)} |"
    )


def _confirmed(row: Row) -> str:
    found = row.get("runbook_has_data")
    if not found:
        return "-"
    return ", ".join(f"{name}: {'data' if has else 'none'}" for name, has in found.items())


def _memory(rows: Sequence[Row]) -> list[str]:
    if not (table := readme.memory_table(rows)):
        return []
    count = sum(bool(row.get("memory_peak_bytes")) for row in rows)
    return [
        "## Memory at its peak",
        "",
        f"One sample a second over {count} drills; a page that n processes share counts 1/n.",
        "",
        *table,
        "",
    ]


def _machine() -> str:
    return f"{os.cpu_count()} cores, {platform.system()}, Python {platform.python_version()}"


def _machines(rows: Sequence[Row]) -> str:
    """Where the drills ran, as the record has it; rows of before it was kept say so."""
    ran_on: Counter[str] = Counter(row.get("machine", "not recorded") for row in rows)
    if len(ran_on) == 1:
        return next(iter(ran_on))
    return "; ".join(f"{machine} ({count} drills)" for machine, count in ran_on.most_common())


def _totals(record: Mapping[str, Any]) -> list[str]:
    if not record["totals"]:
        return []
    lines = ["## Totals", "", "| score | figure |", "|---|---|"]
    for name, value in record["totals"].items():
        lines.append(f"| {name.replace('_', ' ')} | {_figure(value)} |")
    return [*lines, ""]


def _table(rows: Sequence[Row]) -> list[str]:
    lines = [
        *("## The drills", ""),
        (
            "| drill | expected | first page | after s | target s | resolved after s | pages |"
            " requests failed | verdict |"
        ),
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        first = ", ".join(row["first_page"] or []) or "none"
        verdict = "; ".join(row["problems"]) or "as it should be"
        target = f"{row['deadline_seconds']:.0f}" if row["expected"] else "-"
        lines.append(
            f"| [{row['name']}](#{row['name']}) | {', '.join(row['expected']) or 'no page'} | {first}"
            f" | {_figure(row['detect_seconds'])} | {target} | {_figure(row['resolve_seconds'])}"
            f" | {row['pages']} | {row['requests_failed']} of {row['requests']} | {verdict} |"
        )
    return [*lines, ""]


def _not_run(drills: Mapping[str, Drill], ran: set[str]) -> list[str]:
    missing = [drill for name, drill in drills.items() if name not in ran]
    if not missing:
        return []
    return ["Not run yet: " + ", ".join(f"`{drill.name}`" for drill in missing) + ".", ""]


def _repeats(record: Mapping[str, Any]) -> list[str]:
    """The spread of those drills that ran with several seeds."""
    rows: Sequence[Row] = record["drills"]
    repeats: Sequence[Row] = record["repeats"]
    if not repeats:
        return []
    scores = totals([*rows, *repeats])
    shown = ("recall", "precision", "attribution", "pages_per_fault", "quiet_pages")
    across = [f"{name.replace('_', ' ')} {_figure(scores[name])}" for name in shown]
    lines = [
        "## With other seeds",
        "",
        "The seed sets the arrivals, the history and the moment within the scrape interval. Over all",
        f"{scores['drills']} runs: {', '.join(across)}.",
        "",
        "| drill | seeds | after s, of each | target s | resolved after s | pages | verdict |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        runs = [row, *(one for one in repeats if one["name"] == row["name"])]
        if len(runs) == 1:
            continue
        verdicts = sorted({text for one in runs for text in one["problems"]})
        target = f"{row['deadline_seconds']:.0f}" if row["expected"] else "-"
        cells = [
            row["name"],
            ", ".join(str(one["seed"]) for one in runs),
            ", ".join(_figure(one["detect_seconds"]) for one in runs),
            target,
            ", ".join(_figure(one["resolve_seconds"]) for one in runs),
            ", ".join(str(one["pages"]) for one in runs),
            "; ".join(verdicts) or "as it should be",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return [*lines, ""]


def _references(rows: Sequence[Row]) -> list[str]:
    names = list(REFERENCES)
    lines = [
        *("## Beside the usual rules", ""),
        (
            "Seconds until other rules would have fired over the same series, before the way to the pager"
            " (5 s of"
        ),
        (
            "group_wait); `-` when they did not while the fault lasted, which is only as long as our own"
            " page needed."
        ),
        "",
        "| drill | ours, at the pager | " + " | ".join(names) + " |",
        "|---|---|" + "---|" * len(names),
    ]
    for row in rows:
        others = " | ".join(_figure(row["references"].get(name)) for name in names)
        lines.append(f"| {row['name']} | {_figure(row['detect_seconds'])} | {others} |")
    return [*lines, ""]


def _confusion(rows: Sequence[Row]) -> list[str]:
    lines = ["## Faults against diagnoses", "", "| injected | the first page named |", "|---|---|"]
    for injected, named in sorted(confusion(rows).items()):
        text = ", ".join(f"{name} ({count})" for name, count in named.most_common())
        lines.append(f"| {injected} | {text} |")
    return [*lines, ""]


def _each(rows: Sequence[Row]) -> list[str]:
    lines = []
    for row in rows:
        hops = ", ".join(
            f"{name.replace('_', ' ')} {_figure(seconds)}" for name, seconds in row["hops"].items()
        )
        lines += [
            *(f"## {row['name']}", "", row["what"], ""),
            f"Seconds since the break: {hops}. Mended at {_figure(row['mended_seconds'])}.",
            *_of_the_machine(row),
            *([f"> {row['first_page_text']}"] if row["first_page_text"] else []),
            (
                f"Other alerts: {', '.join(row['other_alerts']) or 'none'}. Tickets:"
                f" {', '.join(row['tickets']) or 'none'}."
            ),
            "",
            f"![{row['name']}](images/drill-{row['name']}.svg)",
            "",
        ]
    return lines


def _of_the_machine(row: Row) -> list[str]:
    """How busy it was: several drills may run side by side, and other things."""
    if "load_average" not in row:
        return []
    late = row["generator_late_p99_seconds"] * 1000
    return [
        f"Load average {row['load_average']:g} at the break; requests left {late:.0f} ms late (p99)."
    ]


def _figure(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:g}" if isinstance(value, float) else str(value)
