"""What is aimed at: ratios within one run, so that they hold on another machine too."""

from collections.abc import Iterator, Mapping
from typing import Any

from loadtests.bench.modes import OURS
from loadtests.judge.limits import Limit

THROUGHPUT_LEAST: Mapping[str, float] = {"items": 0.90, "profile": 0.95}
ADDED_CPU_MOST = 0.03
"""Share of the CPU time that a typical full stack adds."""
P99_MOST = 1.15
DELIVERED_LEAST = 0.999
SINK_THROUGHPUT_LEAST, SINK_MEMORY_MB_MOST, SINK_STOP_SECONDS_MOST = 0.95, 25.0, 5.0
UNACCOUNTED_MOST = 0.002
"""What was sent as the load ended may not have been read by the server."""
SCRAPE_MS_MOST = 5.0
READY_SECONDS_MOST = 1.5
PROFILE_READ_MOST = 1.5
CAPACITY_LEAST = 2.0
"""Times that of the other commit."""


def marks(content: Mapping[str, Any]) -> list[Limit]:
    """The marks of the parts that were measured."""
    return [
        *_of_telemetry(content.get("modes", {}).get(OURS, {})),
        *_of_sinks(content.get("sinks", {}).get(OURS, {})),
        *_of_service(content),
    ]


def _of_telemetry(ours: Mapping[str, Any]) -> Iterator[Limit]:
    for endpoint, least in THROUGHPUT_LEAST.items():
        if endpoint not in ours:
            continue
        of = ours[endpoint]
        yield Limit(
            f"{endpoint}: throughput, of bare", _median(of["throughput_ratio"]), least=least
        )
        yield Limit(
            f"{endpoint}: added CPU, of typical",
            _median(of["added_cpu_ratio_to_typical"]),
            most=ADDED_CPU_MOST,
        )
        yield Limit(f"{endpoint}: p99, of bare", _median(of["p99_ratio"]), most=P99_MOST)
        yield Limit(f"{endpoint}: delivered", _median(of["delivered"]), least=DELIVERED_LEAST)


def _of_sinks(ours: Mapping[str, Any]) -> Iterator[Limit]:
    for sink, of in ours.items():
        unaccounted = abs(1 - of["spans_accounted"]["median"])
        yield Limit(f"sink {sink}: spans not accounted for", unaccounted, most=UNACCOUNTED_MOST)
        yield Limit(
            f"sink {sink}: seconds to stop",
            _median(of["stop_seconds"]),
            most=SINK_STOP_SECONDS_MOST,
        )
        if sink != "up":
            yield Limit(
                f"sink {sink}: throughput, of up",
                _median(of["throughput_ratio"]),
                least=SINK_THROUGHPUT_LEAST,
            )
            yield Limit(
                f"sink {sink}: more memory",
                _median(of["added_memory_mb"]),
                "MB",
                most=SINK_MEMORY_MB_MOST,
            )


def _of_service(content: Mapping[str, Any]) -> Iterator[Limit]:
    for row in content.get("scrape", ()):
        if row["mode"] == OURS and row["format"] in {"text", "openmetrics"}:
            name = f"scrape of 10,000 series, {row['format']}"
            yield Limit(name, row["cpu_ms"], "ms", most=SCRAPE_MS_MOST)
    if service := content.get("routes", {}).get("service"):
        read = service.get("GET profile", {}).get("cpu_ratio_to_bare")
        yield Limit("GET profile: CPU, of a bare read", _median(read), most=PROFILE_READ_MOST)
        ready = _median(service.get("ready_seconds"))
        yield Limit("start to ready", ready, "s", most=READY_SECONDS_MOST)
    capacity = {row["target"]: row for row in content.get("capacity", ())}
    if "service_before" in capacity:
        now, before = (capacity[name].get("per_second") for name in ("service", "service_before"))
        is_void = any(row.get("void") for row in capacity.values())
        ratio = now / before if now and before and not is_void else None
        yield Limit("capacity, of the other commit", ratio, least=CAPACITY_LEAST)


def _median(figure: Mapping[str, float] | None) -> float | None:
    return figure["median"] if figure else None
