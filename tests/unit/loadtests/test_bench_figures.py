"""The benchmark's figures: each a ratio within its round, and a mode that drops is marked."""

from pathlib import Path
from typing import Any

import pytest

from loadtests.bench import against, page, summary
from loadtests.bench.environments import FOLDER
from loadtests.bench.generator import answers_of
from loadtests.bench.marks import marks
from loadtests.bench.modes import BARE, ENDPOINTS, MODES, OURS, TYPICAL
from loadtests.bench.picture import figure
from stack.settings import ROOT


def row(mode: str, number: int, *, cpu: float, per_second: float, spans: float = 1.0) -> Any:
    return {
        "mode": mode,
        "round": number,
        "per_second": per_second,
        "cpu_us": cpu,
        "p99_ms": cpu / 10,
        "delivered": {} if mode == BARE else {"spans": spans, "lines": 1.0},
        "memory_mb": 70.0,
        "other_share": 0.0,
        "requests": 1000,
        "refused": 0,
    }


def part(*, spans: float = 1.0) -> dict[str, Any]:
    """Two rounds, the machine half as fast in the second; the kit adds a twentieth of typical."""
    rows = [
        row(mode, number, cpu=cpu * slow, per_second=1e6 / cpu / slow, spans=spans)
        | {"endpoint": one}
        for one in ENDPOINTS
        for number, slow in ((0, 1), (1, 2))
        for mode, cpu in ((BARE, 100.0), (OURS, 150.0), (TYPICAL, 1100.0))
    ]
    measured = {mode: dict.fromkeys(ENDPOINTS, 1.0) for mode in (BARE, OURS, TYPICAL)}
    return {"spans_per_request": measured, "reasons": {"logfire": "no such version"}, "rows": rows}


def test_ratios_are_of_one_round() -> None:
    of = summary.of_modes(part())[OURS]["items"]

    assert of["throughput_ratio"] == {"median": 0.667, "min": 0.667, "max": 0.667}
    assert of["added_cpu_us"] == {"median": 75.0, "min": 50.0, "max": 100.0}
    assert of["added_cpu_ratio_to_typical"]["median"] == 0.05
    assert of["p99_ratio"]["median"] == 1.5


def test_what_was_lost_is_in_the_worst_of_the_signals() -> None:
    modes = summary.of_modes(part(spans=0.5))

    assert modes[OURS]["profile"]["delivered"]["median"] == 0.5
    assert modes[BARE]["profile"]["delivered"] is None


def test_a_mode_without_figures_has_a_reason() -> None:
    failed = part()
    failed["rows"] = [one for one in failed["rows"] if one["mode"] != OURS]
    failed["rows"].append({"mode": OURS, "round": 0, "reason": "it ended"})

    modes = summary.of_modes(failed)

    assert modes["logfire"] == {"reason": "no such version"}
    assert modes[OURS] == {"reason": "it ended"}


def test_marks_are_judged_by_the_median() -> None:
    by_name = {one.name: one for one in marks({"modes": summary.of_modes(part())})}

    assert not by_name["items: throughput, of bare"].holds
    assert not by_name["profile: added CPU, of typical"].holds
    assert by_name["items: delivered"].holds


def test_sinks_are_compared_with_the_one_that_takes_all() -> None:
    rows = [
        {"mode": OURS, "sink": sink, "round": 0, "per_second": rate, "memory_mb": memory}
        | {"spans_accounted": accounted, "stop_seconds": 0.2}
        for sink, rate, memory, accounted in (("up", 100.0, 80.0, 1.0), ("503", 97.0, 110.0, 0.9))
    ]
    found = summary.of_sinks(rows)[OURS]["503"]

    assert found["throughput_ratio"]["median"] == 0.97
    assert found["added_memory_mb"]["median"] == 30.0
    missed = {one.name for one in marks({"sinks": summary.of_sinks(rows)}) if not one.holds}
    assert missed == {"sink 503: spans not accounted for", "sink 503: more memory"}


def test_the_page_has_every_mode_and_why_one_is_missing() -> None:
    about = {"date": "2026-11-29", "seconds": 60, "is_quick": True}
    text = page.page({**about, "modes": summary.of_modes(part())})

    assert "logfire: not measured: no such version" in text
    assert "| **firedrill** | 0.667 |" in text
    assert "its figures say nothing" in text


def test_a_route_is_compared_with_the_bare_read_of_its_round() -> None:
    costs = {"per_second": 300.0, "refused": 0}
    rows = [
        {"target": BARE, "route": "profile", "round": 0, "cpu_us": 800.0} | costs,
        {"target": "service", "route": "GET profile", "round": 0, "cpu_us": 1600.0}
        | {"per_second": 300.0, "refused": 2, "ready_seconds": 1.2}
        | {"stop_seconds": 1.0, "memory_mb": 120.0},
        {"target": "service_before", "round": 0, "reason": "no such table"},
    ]
    content = {"seconds": 60, "is_quick": False, "routes": summary.of_routes(rows)}
    missed = [one.name for one in marks(content) if not one.holds]

    assert missed == ["GET profile: CPU, of a bare read"]
    text = page.page(content)
    assert "| `GET profile` | 1600 | 2 |" in text
    assert "**refused, so its figure says nothing**: {'GET profile': 2}" in text
    assert "service, the other commit: not measured: no such table" in text


def test_the_picture_has_a_bar_for_each_measured_mode() -> None:
    drawn = figure(summary.of_modes(part()))

    assert [list(bar.y) for bar in drawn.data] == [[OURS, TYPICAL]] * 2


def test_the_generators_log_is_read() -> None:
    answers = answers_of("1\t200\t900\n2\t503\t100\n3\t-1\t500\n", 0.5, sent=5)

    assert (answers.sent, answers.count, answers.refused) == (5, 3, 2)
    assert answers.percentile(0.99) == 0.9


def test_a_commit_that_is_not_there_is_refused_in_one_line() -> None:
    with pytest.raises(against.NoCommitError, match=r"^AGAINST=nowhere: no such commit here"):
        against.resolved("nowhere")


@pytest.mark.parametrize("name", sorted({mode.environment for mode in MODES.values()}))
def test_an_environment_is_pinned_to_the_versions_of_the_lock(name: str) -> None:
    lock = pins(ROOT / "requirements.lock")
    pinned = pins(FOLDER / name / "requirements.txt")

    assert {"fastapi", "sqlalchemy", "uvicorn"} <= pinned.keys()
    assert {one: pinned[one] for one in pinned.keys() & lock} == {
        one: lock[one] for one in pinned.keys() & lock
    }


def pins(file: Path) -> dict[str, str]:
    lines = (line.split(" ")[0] for line in file.read_text().splitlines() if "==" in line)
    return dict(line.split("==") for line in lines)
