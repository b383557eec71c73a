"""From the runs of a record to docs/ and the README."""

import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from loadtests.record import drills, load, markdown, picture, plan, readme, record, resilience
from loadtests.record.runner import Journal, Row, verdict
from stack.settings import ROOT

DOCS = record.DOCS
README = ROOT / "README.md"


def publish(journal: Journal) -> None:
    """Write all of it. Raises NoBrowserError, after the pages are written."""
    _publish_runs(journal)
    _copy(journal)
    _publish_load(journal)
    _publish_resilience(journal)
    rows = [row for _, found in _records(journal, "drills") for row in _rows_of(found)]
    void = [
        {
            "name": name,
            "seed": int(seed),
            "load_average": one["load_average"][0],
            "void": one["void"],
        }
        for one in journal.rows
        if one["key"].startswith("drills/") and one["void"] and one["exit_code"] is not None
        for _, name, seed in [one["key"].split("/")]
    ]
    content = drills.content_of([drills.summary_of(row) for row in rows], void)
    record.publish(DOCS, drills.NAME, content, drills.page(content))
    text = readme.drill_figures(README.read_text(), content)
    if bench := record.read(DOCS / "benchmarks.json"):
        text = readme.bench_figures(text, bench)
    record.replace(README, text)
    picture.draw(
        [row for row in rows if row["seed"] == 1], DOCS / "images", overview=content["drills"]
    )


def _records(journal: Journal, name: str) -> Iterator[tuple[Row, dict[str, Any]]]:
    """Each run that wrote a record of this name; its row in the journal."""
    for row in journal.rows:
        found = record.read(journal.folder(row) / f"{name}.json")
        if found and not row["void"]:
            yield row, found


def _rows_of(found: dict[str, Any]) -> list[Row]:
    return [*found["drills"], *found["repeats"]]


def _publish_load(journal: Journal) -> None:
    content: dict[str, Any] = {}
    for _, found in _records(journal, "load"):
        for configuration, rows in found.items():
            for row in rows.values():
                load.put(content, configuration, row)
    if content:
        record.publish(DOCS, "load", content, load.page(content))


def _publish_resilience(journal: Journal) -> None:
    content: dict[str, Any] = {}
    for _, found in _records(journal, "resilience"):
        for configuration, part in found.items():
            resilience.put(content, configuration, part)
    if content:
        record.publish(DOCS, "resilience", content, resilience.page(content))


def _copy(journal: Journal) -> None:
    """What is a page of one run as it stands; that of scaling is made again of two records."""
    for row in journal.rows:
        if not row["void"] and row["key"].startswith(("costs/", "mutation")):
            folder = journal.folder(row)
            for file in (*folder.glob("*.[jm][sd]*"), *folder.glob("images/*.svg")):
                record.replace(DOCS / file.relative_to(folder), file.read_text("utf-8"))
    subprocess.run([sys.executable, "-m", "loadtests.costs.scaling_page"], cwd=ROOT, check=True)


def _publish_runs(journal: Journal) -> None:
    kept = [
        {key: one for key, one in row.items() if key not in {"pid", "folder", "result"}}
        for row in journal.rows
    ]
    planned = plan.runs()
    content = {
        "commit": journal.commit,
        "planned": len(planned),
        "left": sum(not journal.is_done(run) for run in planned),
        "runs": kept,
    }
    record.publish(DOCS, "record", content, page(content))


def page(content: dict[str, Any]) -> str:
    """Every run that was started, as it ended."""
    rows = content["runs"]
    counted = Counter(_kind(row) for row in rows)
    lines = [
        *markdown.heading("Every run of the record", "make record", "record"),
        "Every run that was started is here, whatever came of it. A run with a result is never repeated; one",
        "that was void or interrupted is, and stays here.",
        "",
        f"Commit {content['commit']}. {len(rows)} runs: "
        + ", ".join(f"{count} {kind}" for kind, count in counted.items())
        + f". {content['left']} of the {content['planned']} that are planned have no result yet.",
        "",
        *markdown.table(
            ("run", "began (UTC)", "seconds", "load average", "exit code", "how it ended"),
            map(_cells, rows),
        ),
    ]
    return "\n".join(lines) + "\n"


def _kind(row: Row) -> str:
    if row["ended"] is None:
        return "at work"
    if row["exit_code"] is None:
        return "interrupted"
    return "void" if row["void"] else verdict(row)


def _cells(row: Row) -> list[object]:
    began = datetime.fromisoformat(row["started"])
    load = " to ".join(f"{one:g}" for one in row["load_average"])
    seconds, ending = "-", "at work"
    if row["ended"] is not None:
        seconds = f"{(datetime.fromisoformat(row['ended']) - began).total_seconds():.0f}"
        ending = verdict(row).replace("|", "/")
    return [
        *(row["key"], f"{began:%Y-%m-%d %H:%M}", seconds, load),
        *(markdown.figure(row["exit_code"]), ending),
    ]
