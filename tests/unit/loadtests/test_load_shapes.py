import itertools
from collections import Counter

import pytest

from loadtests.traffic.phases import Phase, arrivals, length, scaled, starts, stretched

PHASES = (
    Phase("calm", 100, {"GET /a": 10.0, "GET /b": 5.0}),
    Phase("wave", 10, {"GET /a": 1.0}, at_once={"POST /c": 40}, at_once_after=3),
)


def all_of(share: float, seed: int = 1) -> Counter[tuple[int, str]]:
    found = arrivals(PHASES, seed=seed, share=share)
    return Counter((due.phase, due.route) for due in found)


def test_each_route_has_its_rate() -> None:
    counts = all_of(1)

    assert counts[0, "GET /a"] == pytest.approx(1000, rel=0.15)
    assert counts[0, "GET /b"] == pytest.approx(500, rel=0.15)


def test_arrivals_come_in_order_and_within_their_phase() -> None:
    found = list(arrivals(PHASES, seed=1))

    assert [due.at for due in found] == sorted(due.at for due in found)
    assert all(due.at < 100 for due in found if due.phase == 0)
    assert all(100 <= due.at < 110 for due in found if due.phase == 1)


def test_a_barrier_is_due_at_one_moment() -> None:
    found = arrivals(PHASES, seed=1)

    assert [due.at for due in found if due.is_at_once] == [103.0] * 40


def test_generators_share_the_load_between_them() -> None:
    together = all_of(0.25, 1) + all_of(0.25, 2) + all_of(0.25, 3) + all_of(0.25, 4)

    assert together[1, "POST /c"] == 40
    assert together[0, "GET /a"] == pytest.approx(1000, rel=0.15)


def test_gaps_are_exponential_not_even() -> None:
    """An even stream never has two requests at once, and so never shows a queue."""
    phases = (Phase("one", 1000, {"GET /a": 10.0}),)
    at = [due.at for due in arrivals(phases, seed=1)]
    gaps = sorted(later - earlier for earlier, later in itertools.pairwise(at))

    assert gaps[len(gaps) // 2] == pytest.approx(0.0693, rel=0.1)  # ln 2 / rate


def test_scaling_keeps_the_mix() -> None:
    assert scaled({"a": 1.0, "b": 3.0}, 40) == {"a": 10.0, "b": 30.0}


def test_stretching_keeps_the_proportions() -> None:
    short = stretched(PHASES, 11)

    assert length(short) == pytest.approx(11)
    assert starts(short) == [0.0, pytest.approx(10)]
    assert short[1].at_once_after == pytest.approx(0.3)


def test_even_requests_come_at_even_distances_the_first_after_one_of_them() -> None:
    phases = (Phase("before", 10), Phase("broken", 10, evenly={"GET /a": 4.0}))

    assert [(due.at, due.phase) for due in arrivals(phases, seed=1)] == [(14, 1), (18, 1)]
