"""The figures that the README quotes, written between its marks by `make record` and never by hand."""

from collections.abc import Mapping, Sequence
from typing import Any

from loadtests.judge.scores import Row, totals
from loadtests.record.markdown import between, figure, table

QUICK = ("db_pool_exhausted", "validation_break_all_clients")
"""The drills that are part of `make test`."""


COSTS: Mapping[str, str] = {
    "typical": "contrib FastAPI, SQLAlchemy and asyncpg, a metrics library, structlog",
    "logfire": "logfire",
    "lite_bootstrap": "lite-bootstrap",
    "fastapi_native": "FastAPI's own telemetry",
    "opentelemetry_instrument": "`opentelemetry-instrument`",
    "prometheus_fastapi_instrumentator": "prometheus-fastapi-instrumentator, metrics only",
    "firedrill": "**Firedrill**",
}
"""By mode of the bench: what the README calls it."""


def bench_figures(text: str, record: Mapping[str, Any]) -> str:
    """The README with what each tool adds to a request."""

    def added(mode: str, endpoint: str) -> str:
        found = record["modes"][mode][endpoint]["added_cpu_us"]
        return f"{found['median']:.0f}" if found["min"] > 0 else "in the noise"

    rows = [(what, added(mode, "items"), added(mode, "profile")) for mode, what in COSTS.items()]
    head = ("added CPU a request, µs", "no database", "one SELECT")
    return between(text, "costs", "\n".join(table(head, rows, right=True)))


def drill_figures(text: str, record: Mapping[str, Any]) -> str:
    """The README with the figures of this record."""
    return between(
        text, "scores", _scores(record["drills"], record["repeats"], record.get("void", ()))
    )


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
