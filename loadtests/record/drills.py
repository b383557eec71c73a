"""The record of the drills, drills.json, and what is written from it and never by hand."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from loadtests.judge.scores import Row, confusion, totals
from loadtests.observe.watch import REFERENCES
from loadtests.record import picture, record
from loadtests.record.markdown import figure, heading, made, memory_table, table
from loadtests.world.description import DEMO

NAME = "drills"
BULKY = frozenset({"bins", "notices"})
"""What the pictures are drawn from; it stays in the run's own record."""


def read(directory: Path) -> dict[str, Any]:
    empty: dict[str, Any] = {"totals": {}, "drills": [], "repeats": [], "void": []}
    return empty | record.read(directory / f"{NAME}.json")


def held(directory: Path, *, seed: int) -> set[str]:
    """Names of the drills that the record holds for this seed."""
    content = read(directory)
    return {row["name"] for row in content["drills"] + content["repeats"] if row["seed"] == seed}


def keep(directory: Path, row: Row) -> None:
    """Put a row into the record in place of its predecessor; another seed's is a repeat."""
    content = read(directory)
    same = (row["name"], row["seed"])
    rows = content["drills"] + content["repeats"]
    rows = [one for one in rows if (one["name"], one["seed"]) != same]
    whole = {**record.about(), **_of_bulk(row), **row}
    record.write(directory / f"{NAME}.json", content_of([*rows, whole], content["void"]))


def content_of(rows: Sequence[Row], void: Sequence[Row]) -> dict[str, Any]:
    """The record of these runs. void: those that said nothing; no total counts them."""
    first: dict[str, Row] = {}
    for row in sorted(rows, key=lambda one: (one["name"], one["seed"])):
        first.setdefault(row["name"], row)
    return {
        "totals": totals(list(first.values())),
        "drills": list(first.values()),
        "repeats": [row for row in rows if row is not first[row["name"]]],
        "void": list(void),
    }


def _of_bulk(row: Row) -> dict[str, Any]:
    """What is left of the bins and the notices in a summary."""
    paged: dict[str, float] = {}
    for notice in row["notices"]:
        for alert in notice["alerts"] if notice["rang"] else ():
            paged.setdefault(alert, notice["at"])
    return {"load_seconds": row["bins"][-1]["at"] if row["bins"] else 0.0, "paged_seconds": paged}


def summary_of(row: Row) -> Row:
    """The row without what is only drawn or looked up while its stack is there."""
    kept = {name: one for name, one in row.items() if name not in BULKY}
    if found := row.get("exemplars"):
        kept["exemplars"] = {name: one for name, one in found.items() if name != "dead_ends"}
    return kept


def write_pages(directory: Path, names: Sequence[str] = ()) -> None:
    """Write the page, draw the timelines of these drills, and the picture of all.

    Raises NoBrowserError, after the page is written.
    """
    content = read(directory)
    record.replace(directory / f"{NAME}.md", page(content))
    print(f"written: {record.shown(directory / NAME)}.md and .json", flush=True)
    rows = [row for row in content["drills"] if row["name"] in names and "bins" in row]
    picture.draw(rows, directory / "images", overview=content["drills"])


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
    recovered = row.get("recovery_seconds")
    served = "not served as before" if recovered is None else f"served as before {recovered:.0f} s"
    lines.append(f"{served} after the mend")
    lines.append(
        f"{row['pages']} pages; {row['requests']} requests, {row['requests_failed']} of them failed"
    )
    verdict = "as it should be" if not row["problems"] else "NOT: " + "; ".join(row["problems"])
    return [*lines, verdict]


def page(content: Mapping[str, Any]) -> str:
    """The whole page, as Markdown."""
    rows: Sequence[Row] = content["drills"]
    lines = [
        *heading("Drills: every page made to fire by a real fault", "make record", NAME),
        "",
        f"![Seconds to the page, its target, and seconds until it was resolved](images/{picture.OVERVIEW})",
        "",
        "Each drill starts a stack of its own on fresh data with three hours of back-filled history, sends",
        f"open-loop load ({sum(DEMO.steady_mix.values()):g} requests a second, three client versions),",
        "breaks one thing, waits for the page, mends, and waits until it is resolved. Times count from the",
        f"break to the pager. Scrape and evaluation 5 s, group_wait 5 s. {_machines(rows)}.",
        "",
        *_totals(content),
        *_table(rows),
        *_void(content.get("void", ())),
        *_repeats(content),
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
        *table(
            (
                *("drill", "queries", "must have data, and have", "without"),
                *("exemplars", "to a trace", "to a line", "runbook"),
            ),
            map(_signal, found),
        ),
        "",
    ]


def _signal(row: Row) -> list[object]:
    panels, exemplars = row["panels"], row["exemplars"]
    wrong = [*panels["unproven"], *panels["errors"], *panels["warnings"]]
    share = f"{panels['share_of_required_with_data']:.1%}"
    return [
        *(row["name"], panels["queries"], share, "; ".join(wrong) or "-"),
        *(exemplars[name] for name in ("count", "with_trace", "with_line")),
        _confirmed(row),
    ]


def _confirmed(row: Row) -> str:
    found = row.get("runbook_has_data")
    if not found:
        return "-"
    return ", ".join(f"{name}: {'data' if has else 'none'}" for name, has in found.items())


def _memory(rows: Sequence[Row]) -> list[str]:
    samples = [row["memory_peak_bytes"] for row in rows if row.get("memory_peak_bytes")]
    if not samples:
        return []
    peaks = {
        part: max(one.get(part, 0) for one in samples)
        for part in dict.fromkeys(part for one in samples for part in one)
    }
    together = peaks.pop("all")
    return [
        "## Memory at its peak",
        "",
        f"One sample a second over {len(samples)} drills; a page that n processes share counts 1/n.",
        "",
        *memory_table(peaks, together),
        "",
    ]


def _machines(rows: Sequence[Row]) -> str:
    """Where the drills ran, as the record has it."""
    kept = ("machine", "versions", "commit")
    ran_on = Counter(made({name: row[name] for name in kept if name in row}) for row in rows)
    return "; ".join(f"{where} ({count} drills)" for where, count in ran_on.most_common())


def _totals(content: Mapping[str, Any]) -> list[str]:
    if not content["totals"]:
        return []
    rows = [(name.replace("_", " "), figure(value)) for name, value in content["totals"].items()]
    return ["## Totals", "", *table(("score", "figure"), rows), ""]


def _table(rows: Sequence[Row]) -> list[str]:
    head = (
        *("drill", "expected", "first page", "after s", "target s", "resolved after s", "pages"),
        *("requests failed", "verdict"),
    )
    return ["## The drills", "", *table(head, map(_cells, rows)), ""]


def _cells(row: Row) -> list[object]:
    return [
        f"[{row['name']}](#{row['name']})",
        ", ".join(row["expected"]) or "no page",
        ", ".join(row["first_page"] or []) or "none",
        figure(row["detect_seconds"]),
        _target(row),
        figure(row["resolve_seconds"]),
        row["pages"],
        f"{row['requests_failed']} of {row['requests']}",
        "; ".join(row["problems"]) or "as it should be",
    ]


def _target(row: Row) -> str:
    return f"{row['deadline_seconds']:.0f}" if row["expected"] else "-"


def _void(rows: Sequence[Row]) -> list[str]:
    """Runs that say nothing of the service; they are in no total, and in the record."""
    if not rows:
        return []
    head = ("drill", "seed", "load average", "why")
    cells = ((row["name"], row["seed"], row["load_average"], row["void"]) for row in rows)
    return ["## Void runs", "", *table(head, cells), ""]


def _repeats(record: Mapping[str, Any]) -> list[str]:
    """The spread of those drills that ran with several seeds."""
    rows: Sequence[Row] = record["drills"]
    repeats: Sequence[Row] = record["repeats"]
    if not repeats:
        return []
    scores = totals([*rows, *repeats])
    shown = ("recall", "precision", "attribution", "pages_per_fault", "quiet_pages")
    across = [f"{name.replace('_', ' ')} {figure(scores[name])}" for name in shown]
    return [
        "## With other seeds",
        "",
        "The seed sets the arrivals, the history and the moment within the scrape interval. Over all",
        f"{scores['drills']} runs: {', '.join(across)}.",
        "",
        *table(
            (
                *("drill", "seeds", "after s, of each", "median, worst", "target s"),
                *("resolved after s", "pages", "verdict"),
            ),
            filter(None, (_of_seeds(row, repeats) for row in rows)),
        ),
        "",
    ]


def _of_seeds(row: Row, repeats: Sequence[Row]) -> list[object]:
    """The cells of one drill over all its seeds; empty where there is only one."""
    runs = [row, *(one for one in repeats if one["name"] == row["name"])]
    if len(runs) == 1:
        return []
    seconds = [one["detect_seconds"] for one in runs if one["detect_seconds"] is not None]
    spread = f"{median(seconds):.0f}, {max(seconds):.0f}" if seconds else "-"
    return [
        row["name"],
        ", ".join(str(one["seed"]) for one in runs),
        ", ".join(figure(one["detect_seconds"]) for one in runs),
        spread,
        _target(row),
        ", ".join(figure(one["resolve_seconds"]) for one in runs),
        ", ".join(str(one["pages"]) for one in runs),
        "; ".join(sorted({text for one in runs for text in one["problems"]})) or "as it should be",
    ]


def _references(rows: Sequence[Row]) -> list[str]:
    head = ["drill", "ours, at the pager", *REFERENCES]
    cells = (
        [
            row["name"],
            figure(row["detect_seconds"]),
            *(figure(row["references"].get(name)) for name in REFERENCES),
        ]
        for row in rows
    )
    return [
        *("## Beside the usual rules", ""),
        "Seconds until other rules would have fired over the same series, before the way to the pager (5 s",
        "of group_wait); `-` when they did not while the fault lasted, which is only as long as our own page",
        "needed.",
        "",
        *table(head, cells),
        "",
    ]


def _confusion(rows: Sequence[Row]) -> list[str]:
    cells = [
        (injected, ", ".join(f"{name} ({count})" for name, count in named.most_common()))
        for injected, named in sorted(confusion(rows).items())
    ]
    return [
        *("## Faults against diagnoses", ""),
        *table(("injected", "the first page named"), cells),
        "",
    ]


def _each(rows: Sequence[Row]) -> list[str]:
    lines = []
    for row in rows:
        hops = ", ".join(
            f"{name.replace('_', ' ')} {figure(seconds)}" for name, seconds in row["hops"].items()
        )
        lines += [
            *(f"## {row['name']}", "", row["what"], ""),
            f"Seconds since the break: {hops}. Mended at {figure(row['mended_seconds'])}.",
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
