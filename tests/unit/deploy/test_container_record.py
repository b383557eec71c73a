"""What `make compose-check` writes down."""

import json
from typing import Any

import pytest

from tests.compose import record
from tests.compose.signal_check import Missing, Stop

FIGURES: dict[str, Any] = {
    "machine": "a machine",
    "date": "2026-01-01",
    "command": "make compose-check",
    "load_average_at_start": 1.0,
    "healthy_seconds": 50.0,
}


def test_the_page_is_written_from_the_record() -> None:
    assert record.PAGE.read_text() == record.page(json.loads(record.RECORD.read_text()))


def test_a_check_that_fails_is_said_first_and_where_it_stands() -> None:
    checks = [
        {"name": "rules", "holds": True, "result": "117 rules", "seconds": 1.0},
        {"name": "probes", "holds": False, "result": "not\nwithin | 90 s", "seconds": 90.0},
    ]

    page = record.page(FIGURES | {"checks": checks})

    assert "1 of 2 checks fail: probes." in page
    assert "| probes | **fails**: not within \\| 90 s | 90.0 |" in page


def test_without_the_plug_in_the_page_says_that_compose_v2_was_not_asked() -> None:
    assert "Compose v2 was not" in record.page(FIGURES | {"checks": []})
    assert "Compose 2.40.3 started" in record.page(
        FIGURES | {"checks": [], "compose_v2": "2.40.3"}
    )


@pytest.mark.parametrize("stop", [Stop(1.0, 900, {"503": 1}), Stop(5.1, 900, {})])
def test_a_stop_that_loses_a_request_or_takes_too_long_fails(stop: Stop) -> None:
    with pytest.raises(Missing, match="of 900 requests lost"):
        stop.judged()
    assert Stop(1.0, 900, {}).judged() == "stopped in 1.0 s, 0 of 900 requests lost"
