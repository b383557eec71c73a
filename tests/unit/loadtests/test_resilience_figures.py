"""How a run of `make resilience` is judged."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from loadtests.judge.figures import Figures, figures
from loadtests.record.resilience import page, write
from loadtests.traffic.sample import Sample

ABOUT: dict[str, Any] = {
    "command": "make resilience",
    "date": "2026-11-20",
    "machine": "2 cores",
    "versions": {"python": "3.11"},
    "seconds_per_fault": 60,
    "requests_per_second": 40,
    "seed": 1,
}
ROUTE, OTHER = "GET /broken", "GET /other"


def sample(due: float, **changes: Any) -> Sample:
    values: dict[str, Any] = {
        "route": ROUTE,
        "seconds": 0.01,
        "late_seconds": 0.0,
        "deadline_seconds": 2.0,
        "status": 200,
        "code": "",
    }
    return Sample(due=due, **{**values, **changes})


def steady(*changed: Sample) -> list[Sample]:
    """Ten answers a second, and what is not like them."""
    return [sample(number / 10) for number in range(300)] + list(changed)


def judged(samples: list[Sample], **changes: Any) -> Figures:
    values: dict[str, Any] = {
        "fault": "x",
        "what": "y",
        "unrelated": {OTHER},
        "block_seconds": 0.0,
        "readyz": [200],
        "checked_out": 0,
        "idle_in_transaction": 0,
    }
    return figures(samples, broken=10.0, mended=20.0, end=30.0, **{**values, **changes})


def test_a_run_without_trouble_keeps_every_promise() -> None:
    row = judged(steady())

    assert row.broken_limits() == []
    assert (row.in_time, row.requests, row.recovery) == (300, 300, 0.0)


@pytest.mark.parametrize(
    ("item", "in_time"),
    [
        (sample(15, seconds=2.199), True),
        (sample(15, seconds=2.201), False),
        (sample(15, status=0, code="no answer: TimeoutError"), False),
        (sample(5, seconds=2.3), False),
        (sample(15, status=503, code="db_unavailable"), True),
    ],
)
def test_in_time_is_an_answer_within_the_deadline_and_a_bit(item: Sample, in_time: bool) -> None:
    row = judged(steady(item))

    assert (row.in_time == row.requests) is in_time
    assert bool(row.broken_limits()) is not in_time


def test_a_loop_that_stood_still_is_granted_its_time() -> None:
    assert judged(steady(sample(15, seconds=5.1)), block_seconds=3.0).broken_limits() == []


@pytest.mark.parametrize(
    "failed",
    [
        sample(21.5, status=503, code="db_unavailable"),
        sample(21.5, status=0, code="no answer: OSError"),
        sample(21.5, status=404, seconds=2.3),
        sample(21.5, is_degraded=True),
    ],
)
def test_it_is_normal_when_nothing_fails_any_more(failed: Sample) -> None:
    assert judged(steady(failed)).recovery == 1.5


def test_it_is_not_normal_while_answers_are_slow() -> None:
    slow = [sample(20 + number / 10, seconds=1.0) for number in range(25)]

    row = judged(steady(*slow))

    assert row.recovery is not None
    assert 2.0 < row.recovery <= 2.5
    assert row.broken_limits() == ["not normal 2 s after mending"]


def test_what_fails_to_the_end_never_is_normal() -> None:
    row = judged(steady(sample(29.9, status=500, code="internal_error")))

    assert row.recovery is None
    assert row.broken_limits() == ["not normal 2 s after mending"]


@pytest.mark.parametrize(
    ("before", "during", "kept"),
    [(0.01, 0.049, True), (0.01, 0.06, False), (0.1, 0.19, True), (0.1, 0.21, False)],
)
def test_unrelated_routes_may_be_twice_as_slow_or_a_little(
    before: float,
    during: float,
    kept: bool,
) -> None:
    unrelated = [
        *(sample(number / 10, route=OTHER, seconds=before) for number in range(90)),
        *(sample(10 + number / 10, route=OTHER, seconds=during) for number in range(90)),
    ]

    assert (judged(steady(*unrelated)).broken_limits() == []) is kept


def test_a_connection_left_behind_breaks_a_promise() -> None:
    assert judged(steady(), idle_in_transaction=1).broken_limits() == ["connections left behind"]


def test_a_late_generator_makes_the_row_void() -> None:
    late = [sample(15, late_seconds=0.1) for _ in range(10)]

    assert judged(steady(*late)).is_void
    assert not judged(steady(late[0])).is_void


def test_only_what_happens_while_it_is_broken_is_told() -> None:
    row = judged(steady(sample(15, status=503, code="db_unavailable"), sample(25, status=422)))

    assert row.answers == {"200": 100, "503 db_unavailable": 1}


def test_the_page_shows_each_row_of_each_configuration() -> None:
    row = judged(steady(sample(15, seconds=9.0, status=503, code="db_unavailable")))
    part = ABOUT | {"rows": [vars(row)]}

    text = page({"firedrill": part, "plain": part})

    assert (
        text.count("| `x` | 99.67%, 1 not; worst +7.0 s | 200: 100, 503 db_unavailable: 1 |") == 2
    )
    assert "- `x`: y" in text
    assert "- `x`: 1 of 301 requests not answered in time" in text


def test_a_fault_that_is_measured_again_replaces_its_row_only(tmp_path: Path) -> None:
    first, again = judged(steady()), judged(steady(sample(15, seconds=9.0)))
    rows = [replace(first, fault=name) for name in ("none", "table_locked")]
    write(tmp_path, rows, "firedrill", ABOUT)

    write(tmp_path, [replace(again, fault="none")], "firedrill", ABOUT)

    record = json.loads((tmp_path / "resilience.json").read_text())["firedrill"]["rows"]
    assert [(row["fault"], row["requests"]) for row in record] == [
        ("none", again.requests),
        ("table_locked", first.requests),
    ]

    write(tmp_path, rows[:1], "firedrill", ABOUT | {"seed": 2})

    record = json.loads((tmp_path / "resilience.json").read_text())["firedrill"]["rows"]
    assert [row["fault"] for row in record] == ["none"]
