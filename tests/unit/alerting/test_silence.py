from datetime import timedelta

import pytest

from alerting.silence import CannotSilence, parse_duration


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("90m", timedelta(minutes=90)),
        ("1h30m", timedelta(minutes=90)),
        ("2d", timedelta(days=2)),
        ("45s", timedelta(seconds=45)),
        ("7d", timedelta(days=7)),
    ],
)
def test_durations_are_spelled_as_in_prometheus(text: str, meant: timedelta) -> None:
    assert parse_duration(text) == meant


@pytest.mark.parametrize(
    "text", ["", "1", "h", "0s", "1.5h", "-1h", "1h ", "8d", "7d1s", "1m1h", "²h"]
)
def test_any_other_duration_is_refused(text: str) -> None:
    with pytest.raises(CannotSilence, match="FOR must be like 90m"):
        parse_duration(text)
