"""From the rows of all rounds to figures: each a ratio within its round, then median, least and most."""

from collections.abc import Callable, Mapping, Sequence
from statistics import median
from typing import Any

from loadtests.bench.laboratory import Row
from loadtests.bench.modes import BARE, TYPICAL

Figure = dict[str, float]
"""median, min, max over the rounds."""
GATE_OFF = "bare_gate_off"


def figure(values: Sequence[float], digits: int = 3) -> Figure | None:
    """None: no round gave a value."""
    if not values:
        return None
    return {
        "median": round(median(values), digits),
        "min": round(min(values), digits),
        "max": round(max(values), digits),
    }


def of_modes(part: Mapping[str, Any]) -> dict[str, Any]:
    """modes.<mode>.<endpoint>: figures; modes.<mode>.reason: why there are none."""
    rows = [row for row in part["rows"] if "endpoint" in row]
    found: dict[str, Any] = {name: {"reason": text} for name, text in part["reasons"].items()}
    for name, spans in part["spans_per_request"].items():
        of_mode = [row for row in rows if row["mode"] == name]
        if not of_mode:
            failed = next(row for row in part["rows"] if row["mode"] == name)
            found[name] = {"reason": failed["reason"]}
            continue
        found[name] = {
            endpoint: _of_endpoint(
                [row for row in of_mode if row["endpoint"] == endpoint],
                {
                    (row["mode"], row["round"]): row
                    for row in rows
                    if row["endpoint"] == endpoint and row["mode"] in {BARE, TYPICAL, GATE_OFF}
                },
            )
            | {"spans_per_request": spans[endpoint]}
            for endpoint in spans
        }
    return found


def _of_endpoint(
    rows: Sequence[Row], references: Mapping[tuple[str, int], Row]
) -> dict[str, Figure | None]:
    def beside(name: str, compare: Callable[[Row, Row], float], digits: int) -> Figure | None:
        """Compare each row with the row of another mode in the same round."""
        pairs = ((row, references.get((name, row["round"]))) for row in rows)
        return figure([compare(row, other) for row, other in pairs if other], digits)

    return {
        "throughput_ratio": beside(BARE, lambda a, b: a["per_second"] / b["per_second"], 3),
        "added_cpu_us": beside(BARE, _added, 1),
        "added_cpu_us_to_gate_off": beside(GATE_OFF, _added, 1),
        "added_cpu_ratio_to_typical": figure(_of_typical(rows, references), 4),
        "p99_ratio": beside(BARE, lambda a, b: a["p99_ms"] / b["p99_ms"], 2),
        "delivered": figure([min(r["delivered"].values()) for r in rows if r["delivered"]], 4),
        "per_second": figure([row["per_second"] for row in rows], 0),
        "cpu_us": figure([row["cpu_us"] for row in rows], 1),
        "memory_mb": figure([row["memory_mb"] for row in rows], 1),
        "other_share": figure([row["other_share"] for row in rows]),
    }


def _added(row: Row, other: Row) -> float:
    return float(row["cpu_us"] - other["cpu_us"])


def _of_typical(rows: Sequence[Row], references: Mapping[tuple[str, int], Row]) -> list[float]:
    found = []
    for row in rows:
        bare, typical = (references.get((name, row["round"])) for name in (BARE, TYPICAL))
        if bare and typical and (whole := _added(typical, bare)) > 0:
            found.append(_added(row, bare) / whole)
    return found


def of_routes(rows: Sequence[Row]) -> dict[str, Any]:
    """<target>.<route>: CPU time of a request, absolute and as a ratio to the bare read of the same round."""
    bare = {row["round"]: row["cpu_us"] for row in rows if row["target"] == BARE}
    found: dict[str, Any] = {}
    for target in dict.fromkeys(row["target"] for row in rows):
        of_target = [row for row in rows if row["target"] == target and "route" in row]
        if not of_target:
            found[target] = {"reason": next(r["reason"] for r in rows if r["target"] == target)}
            continue
        found[target] = {
            route: {
                "cpu_us": figure([row["cpu_us"] for row in of_route], 0),
                "cpu_ratio_to_bare": figure([r["cpu_us"] / bare[r["round"]] for r in of_route], 2),
                "per_second": figure([row["per_second"] for row in of_route], 0),
                "refused": sum(row["refused"] for row in of_route),
            }
            for route in dict.fromkeys(row["route"] for row in of_target)
            for of_route in [[row for row in of_target if row["route"] == route]]
        }
        for name in ("ready_seconds", "stop_seconds", "memory_mb"):
            if values := [row[name] for row in of_target if name in row]:
                found[target][name] = figure(values, 2)
    return found


def of_sinks(rows: Sequence[Row]) -> dict[str, Any]:
    """<mode>.<sink>: figures compared with those of the same round with a sink that takes everything."""
    up = {(row["mode"], row["round"]): row for row in rows if row["sink"] == "up"}
    return {
        mode: {
            sink: {
                "throughput_ratio": figure(
                    [r["per_second"] / up[mode, r["round"]]["per_second"] for r in of_sink]
                ),
                "added_memory_mb": figure(
                    [r["memory_mb"] - up[mode, r["round"]]["memory_mb"] for r in of_sink], 1
                ),
                "spans_accounted": figure([row["spans_accounted"] for row in of_sink], 4),
                "stop_seconds": figure([row["stop_seconds"] for row in of_sink], 2),
            }
            for sink in dict.fromkeys(row["sink"] for row in rows)
            for of_sink in [[r for r in rows if r["mode"] == mode and r["sink"] == sink]]
        }
        for mode in dict.fromkeys(row["mode"] for row in rows)
    }
