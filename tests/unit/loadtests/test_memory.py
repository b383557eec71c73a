from loadtests.costs.memory import page
from loadtests.observe.memory import Peaks


def test_the_peak_of_all_is_of_one_moment_and_not_a_sum_of_peaks() -> None:
    peaks = Peaks()

    peaks.add({"service-1": 90, "viewer": 10})
    peaks.add({"service-1": 20, "viewer": 70})

    assert peaks.parts == {"service-1": 90, "viewer": 70}
    assert peaks.all_parts == 100


def test_the_page_lists_the_largest_first() -> None:
    record = {
        "date": "2026-01-01",
        "machine": "one",
        "samples": 2,
        "during": "nothing",
        "parts": {"small": 1_000_000, "large": 9_000_000},
        "all_parts": 10_000_000,
    }

    text = page(record)

    assert text.index("| large | 9 |") < text.index("| small | 1 |")
    assert "**10**" in text
