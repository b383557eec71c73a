"""docs/benchmarks.md: the tables, from the record alone."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from loadtests.bench.marks import marks
from loadtests.bench.modes import BEFORE, ENDPOINTS, MODES, OURS, RATES
from loadtests.bench.picture import PICTURE, draw
from loadtests.record import record
from loadtests.record.drawing import NoBrowserError
from loadtests.record.markdown import heading, made, table

NAME = "benchmarks"


def publish(directory: Path, content: dict[str, Any]) -> bool:
    """Write record, page and picture. Returns whether a mark is missed, or a part without figures."""
    found = marks(content)
    content["marks"] = [one.row for one in found]
    record.publish(directory, NAME, content, page(content))
    if "modes" in content:
        try:
            draw(content["modes"], directory / "images")
        except NoBrowserError as error:
            print(error)
    for one in found:
        print(f"{'ok    ' if one.holds else 'missed'} {one}")
    return "not_measured" in content or not all(one.holds for one in found)


def page(content: Mapping[str, Any]) -> str:
    lines = [
        *heading("What telemetry costs, and what the service costs", "make bench", NAME),
        f"{made(content)}. {content['seconds'] / 60:.0f} minutes.",
        *(
            ["", "**A quick run, to try the benchmark: its figures say nothing.**"]
            * content["is_quick"]
        ),
        "",
        "The server under test has one core for itself; h2load (16 connections), PostgreSQL and a real",
        "collector share the other. Every round starts each mode afresh, every second round backwards; a",
        "ratio is within one round, the figure is the median of the rounds, least and most beside it. CPU is",
        "of all threads. What others took of the server's core is in the record (`other_share`); above 3 %",
        "a figure is taken again, twice at most.",
    ]
    for name, reason in content.get("not_measured", {}).items():
        lines += ["", f"**Not measured: {name}: {reason}**"]
    if content.get("marks"):
        lines += ["", "## Marks", "", *_marks(content["marks"])]
    if modes := content.get("modes"):
        lines += ["", "## Telemetry", "", f"![Added CPU by mode](images/{PICTURE})"]
        for endpoint in ENDPOINTS:
            lines += ["", *_modes(modes, endpoint)]
        lines += ["", *_reasons(modes)]
    for name, write in (
        ("routes", _routes),
        ("sinks", _sinks),
        ("scrape", _scrape),
        ("capacity", _capacity),
    ):
        if name in content:
            lines += ["", *write(content[name])]
    return "\n".join(lines) + "\n"


def _marks(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    def bound(row: Mapping[str, Any]) -> str:
        return f"≤ {row['most']:g}" if row["most"] is not None else f"≥ {row['least']:g}"

    return table(
        ("", "figure", "mark", ""),
        [
            (
                row["name"],
                "-" if row["figure"] is None else f"{row['figure']:.4g} {row['unit']}".strip(),
                bound(row),
                "holds" if row["holds"] else "**missed**",
            )
            for row in rows
        ],
    )


def _modes(modes: Mapping[str, Any], endpoint: str) -> Iterator[str]:
    what = "no database" if endpoint == "items" else "one SELECT"
    yield f"`{ENDPOINTS[endpoint]}`, {what}; the p99 at {RATES[endpoint]} requests a second:"
    yield ""
    head = (
        *("mode", "of bare throughput", "added CPU, µs", "added CPU, of typical"),
        *("p99, of bare", "delivered", "spans", "memory, MB"),
    )
    rows = [
        (
            f"**{_name(name)}**" if name in {OURS, BEFORE} else _name(name),
            *(
                _figure(of[endpoint][key])
                for key in (
                    *("throughput_ratio", "added_cpu_us", "added_cpu_ratio_to_typical"),
                    *("p99_ratio", "delivered"),
                )
            ),
            f"{of[endpoint]['spans_per_request']:g}",
            _figure(of[endpoint]["memory_mb"]),
        )
        for name, of in modes.items()
        if endpoint in of
    ]
    yield from table(head, rows, right=True)


def _reasons(modes: Mapping[str, Any]) -> Iterator[str]:
    for name, mode in MODES.items():
        if "reason" in modes.get(name, {}):
            yield f"- {_name(name)}: not measured: {modes[name]['reason'].replace('|', '/')}"
        elif name in modes:
            yield f"- {_name(name)}: {mode.what}"


def _routes(routes: Mapping[str, Any]) -> Iterator[str]:
    yield from (
        "## The service's own routes",
        "",
        "CPU of a request beside a bare read of one row:",
        "",
    )
    targets = [
        name for name in ("service", "service_before") if "reason" not in routes.get(name, {})
    ]
    targets = [name for name in targets if name in routes]
    heads = [head for name in targets for head in (f"{_name(name)}, µs", "of bare")]
    names = (
        [route for route, of in routes[targets[0]].items() if "cpu_us" in of] if targets else []
    )
    rows = [
        (
            f"`{route}`",
            *(
                _figure(routes[name].get(route, {}).get(key))
                for name in targets
                for key in ("cpu_us", "cpu_ratio_to_bare")
            ),
        )
        for route in names
    ]
    yield from table(("route", *heads), rows, right=True)
    yield ""
    for name, of in routes.items():
        if "reason" in of:
            yield f"- {_name(name)}: not measured: {of['reason']}"
        elif name in targets:
            if refused := {key: one["refused"] for key, one in of.items() if one.get("refused")}:
                yield f"- {_name(name)}: **refused, so its figure says nothing**: {refused}"
            ready, stop, memory = (
                _figure(of[key]) for key in ("ready_seconds", "stop_seconds", "memory_mb")
            )
            yield f"- {_name(name)}: ready after {ready} s, stopped after {stop} s, {memory} MB at the most"


def _sinks(sinks: Mapping[str, Any]) -> Iterator[str]:
    yield from (
        "## When nobody takes the spans",
        "",
        "Beside the same round with a sink that takes all:",
        "",
    )
    rows = [
        (
            f"{_name(mode)}, {sink}",
            *(
                _figure(of[key])
                for key in (
                    "throughput_ratio",
                    "added_memory_mb",
                    "spans_accounted",
                    "stop_seconds",
                )
            ),
        )
        for mode, of_mode in sinks.items()
        for sink, of in of_mode.items()
    ]
    head = ("", "of throughput", "more memory, MB", "spans accounted for", "seconds to stop")
    yield from table(head, rows, right=True)


def _scrape(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    yield from ("## A scrape of 10,000 series", "")
    head = ("", "format", "CPU, ms", "bytes", "encoding")
    cells = [
        (_name(r["mode"]), r["format"], r["cpu_ms"], f"{r['wire_bytes']:,}", r["encoding"])
        for r in rows
    ]
    yield from table(head, cells)


def _capacity(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    yield from ("## Capacity", "", "Of the mixed load, open loop, one replica on one core:", "")
    for row in rows:
        said = (
            f"not measured: {row['reason']}"
            if "reason" in row
            else f"{row['per_second']} requests served a second, p99 {row['p99_seconds']} s"
            + (f" (void: {row['void']})" if row["void"] else "")
        )
        yield f"- {_name(row['target'])}: {said}"


def _name(name: str) -> str:
    return name.replace("_before", ", the other commit").replace("_", " ")


def _figure(found: Mapping[str, float] | None) -> str:
    if found is None:
        return "-"
    values = f"{found['median']:g}"
    if found["min"] == found["max"]:
        return values
    return f"{values} [{found['min']:g}..{found['max']:g}]"
