"""The record of the load tests, load.json, and its page."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from loadtests.record import markdown, record


def keep(directory: Path, configuration: str, row: Mapping[str, Any]) -> None:
    """Put the row into the record, unless it is void and there is one that is not; write the page."""
    content = record.read(directory / "load.json")
    put(content, configuration, row)
    record.publish(directory, "load", content, page(content))


def put(content: dict[str, Any], configuration: str, row: Mapping[str, Any]) -> None:
    """As a summary: the slowest requests stay in the run's own report."""
    rows = content.setdefault(configuration, {})
    before = rows.get(row["scenario"])
    if before is None or before["void"] or not row["void"]:
        phases = [{k: v for k, v in one.items() if k != "slowest"} for one in row["phases"]]
        rows[row["scenario"]] = {**row, "phases": phases}


def page(record: Mapping[str, Mapping[str, Any]]) -> str:
    """The record as Markdown."""
    rows = record.get("firedrill", {})
    two, plain = record.get("two_replicas", {}), record.get("plain", {})
    some = next(iter([*rows.values(), *plain.values()]))
    lines = [
        *markdown.heading("Load: what the service does under it", "make record", "load"),
        "Arrivals are open-loop, and time counts from when a request was due. Generator, service,",
        "PostgreSQL and provider share one machine, so that the figures are those of the machine; the",
        "limits are ratios within one run, or the contract's deadlines.",
        "",
        f"{markdown.made(some)}.",
        "",
        *markdown.table(
            ("scenario", "what", "date", "requests", "generator late, p99", "verdict"),
            (_summary(name, row) for name, row in rows.items()),
        ),
    ]
    for name in rows:
        if name in plain:
            summary = (
                "Plain: SQLAlchemy's pool as it comes (5 + 10 connections, 30 s), no deadline, no"
                " admission, no breaker, and each request that finds a token expired refreshes it."
            )
            lines += _beside(
                f"{name}: beside a plain configuration", summary, rows[name], plain[name], "plain"
            )
    for name in rows:
        if name in two:
            summary = f"On the same cores; two replicas: {_verdict(two[name])}."
            lines += _beside(
                f"{name}: beside two replicas", summary, rows[name], two[name], "two replicas"
            )
    for name, row in rows.items():
        lines += _each(name, row)
    return "\n".join(lines) + "\n"


def _summary(name: str, row: Mapping[str, Any]) -> list[str]:
    late = max((phase.get("late_seconds_p99", 0.0) for phase in row["phases"]), default=0.0)
    what, date = row.get("what", ""), row["date"][:10]
    cells = what, date, row["requests"], f"{late * 1000:.1f} ms", _verdict(row)
    return [f"[{name}](#{name})", *map(str, cells)]


def _verdict(row: Mapping[str, Any]) -> str:
    if row["void"]:
        return f"void: {row['void']}"
    broken = [limit["name"] for limit in row["limits"] if not limit["holds"]]
    return f"broken: {', '.join(broken)}" if broken else "as it should be"


def _beside(
    heading: str,
    summary: str,
    row: Mapping[str, Any],
    beside: Mapping[str, Any],
    column: str,
) -> list[str]:
    """Two configurations side by side; a figure that only one of them has is shown as well."""
    theirs = {limit["name"]: limit for limit in beside["limits"]}
    ours = {limit["name"]: limit for limit in row["limits"]}
    names = [*ours, *(one for one in theirs if one not in ours)]
    lines = [
        *("", f"## {heading}", ""),
        summary + (f" Void: {beside['void']}." if beside["void"] else ""),
        "",
    ]
    cells = []
    for one in names:
        limit = ours.get(one, {})
        unit = f" ({limit['unit']})" if limit.get("unit") else ""
        figures = measured(limit), measured(theirs.get(one))
        cells.append((one + unit, _bound(limit) if limit else "", *figures))
    return lines + markdown.table(("figure", "limit", "Firedrill", column), cells)


def _each(name: str, row: Mapping[str, Any]) -> list[str]:
    replicas = f"{row['replicas']} replica{'s' * (row['replicas'] > 1)}"
    length = f"{row['seconds']:g} s instead of its own length, " if row.get("seconds") else ""
    rate = f"{row['rate']:g} requests a second, seed {row['seed']}"
    summary = f"{length}{rate}, {replicas}: {_verdict(row)}."
    return [
        "",
        f"## {name}",
        "",
        f"`make load SCENARIO={name}`, {summary}",
        "",
        *markdown.table(
            ("figure", "measured", "limit"),
            (
                (limit["name"], f"{measured(limit)} {limit['unit']}", _bound(limit))
                for limit in row["limits"]
            ),
        ),
        "",
        *markdown.table(
            ("phase", "requests", "served/s", "p50 s", "p99 s", "statuses", "codes"),
            (_phase(phase) for phase in row["phases"] if phase["requests"]),
        ),
    ]


def _phase(phase: Mapping[str, Any]) -> list[object]:
    def counted(found: Mapping[str, int]) -> str:
        return ", ".join(f"{name}: {count}" for name, count in found.items())

    return [
        *(phase["name"], phase["requests"], phase["goodput"]),
        *(number(phase.get(f"seconds_{share}")) for share in ("p50", "p99")),
        *(counted(phase[kind]) for kind in ("statuses", "codes")),
    ]


def _bound(limit: Mapping[str, Any]) -> str:
    if limit["most"] is not None and limit["most"] == limit["least"]:
        return f"{limit['most']:g}"
    if limit["most"] is not None:
        return f"<= {limit['most']:g}"
    return f">= {limit['least']:g}" if limit["least"] is not None else ""


def measured(limit: Mapping[str, Any] | None) -> str:
    """The figure of a limit; one that was not reached has none."""
    return (
        "not reached" if limit and limit["figure"] is None else number((limit or {}).get("figure"))
    )


def number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"
