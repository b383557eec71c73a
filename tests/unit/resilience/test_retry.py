from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firedrill_kit.resilience.retry import RetryBudget, retry_after_seconds

NOW = datetime(2026, 11, 24, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("0", 0.0),
        ("7", 7.0),
        (" 7 ", 7.0),
        ("Tue, 24 Nov 2026 12:00:30 GMT", 30.0),
        ("Tue, 24 Nov 2026 11:00:00 GMT", 0.0),
        ("Tue, 24 Nov 2026 12:00:30 -0000", 30.0),
        (None, None),
        ("", None),
        ("soon", None),
        ("-1", None),
        ("1.5", None),
        ("９", None),
        ("9" * 400, None),
    ],
)
def test_retry_after_is_read_in_both_forms_and_ignored_in_any_other(
    header: str | None, seconds: float | None
) -> None:
    assert retry_after_seconds(header, now=NOW) == seconds


@given(st.text(max_size=60))
def test_no_header_is_too_odd(header: str) -> None:
    seconds = retry_after_seconds(header)

    assert seconds is None or seconds >= 0


def test_a_quiet_service_may_retry_up_to_the_floor() -> None:
    budget = RetryBudget(clock=lambda: 0.0, floor=3)
    budget.note_call()

    assert [budget.take() for _ in range(4)] == [True, True, True, False]


def test_a_busy_service_may_add_a_tenth() -> None:
    budget = RetryBudget(clock=lambda: 0.0, floor=3)
    for _ in range(100):
        budget.note_call()

    assert sum(budget.take() for _ in range(100)) == 10


def test_the_budget_comes_back_after_its_window() -> None:
    now = 0.0
    budget = RetryBudget(clock=lambda: now, floor=1, window_seconds=10)
    taken = [budget.take(), budget.take()]
    now = 10.0

    assert [*taken, budget.take()] == [True, False, True]
