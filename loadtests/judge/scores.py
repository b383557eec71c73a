"""The scores of a whole run, out of the rows of the record."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from loadtests.judge.limits import percentile

Row = Mapping[str, Any]


def totals(rows: Sequence[Row]) -> dict[str, Any]:
    """recall: faults whose every expected page came within its deadline. precision: pages that a
    drill lists. attribution: first pages that name an injected cause. pages_per_fault: of the drills
    that expect a page, divided by the pages they expect.
    """
    faults = [row for row in rows if row["expected"]]
    paged = [row for row in faults if row["first_page"]]
    in_time = [row for row in faults if not _is_late_or_missing(row)]
    pages = sum(row["pages"] for row in rows)
    wrong = sum(row["wrong_pages"] for row in rows)
    detect = [row["detect_seconds"] for row in faults if row["detect_seconds"] is not None]
    return {
        "drills": len(rows),
        "passed": sum(not row["problems"] for row in rows),
        "recall": _ratio(len(in_time), len(faults)),
        "precision": _ratio(pages - wrong, pages),
        "attribution": _ratio(sum(_is_attributed(row) for row in paged), len(paged)),
        "pages_per_fault": _ratio(
            sum(row["pages"] for row in faults), sum(len(row["expected"]) for row in faults)
        ),
        "quiet_pages": sum(row["pages"] for row in rows if not row["expected"]),
        "detect_seconds_p50": percentile(detect, 0.5) if detect else None,
        "detect_seconds_p95": percentile(detect, 0.95) if detect else None,
    }


def confusion(rows: Sequence[Row]) -> dict[str, Counter[str]]:
    """What the first page named, by injected cause."""
    matrix: dict[str, Counter[str]] = {}
    for row in rows:
        named = row["first_page"][0] if row["first_page"] else "no page"
        matrix.setdefault(row["expected_alert"] or "nothing to page", Counter())[named] += 1
    return matrix


def _is_attributed(row: Row) -> bool:
    """Whether the first page names an injected fault; of two faults either may page first."""
    return bool(row["first_page"]) and row["first_page"][0] in row["expected"]


def _is_late_or_missing(row: Row) -> bool:
    return bool(row["pages_missed"] or row["pages_late"])


def _ratio(part: int, whole: int) -> float | None:
    return round(part / whole, 4) if whole else None
