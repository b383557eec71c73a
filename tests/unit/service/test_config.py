"""Settings that cannot work together are refused before anything is started."""

import pytest

from service.config import Config, read_config


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"BODY_TIMEOUT_SECONDS": "3"}, "keep BODY_TIMEOUT_SECONDS below WRITE_DEADLINE_SECONDS"),
        (
            {"WRITE_DEADLINE_SECONDS": "9", "BODY_TIMEOUT_SECONDS": "5"},
            "and LOGIN_DEADLINE_SECONDS",
        ),
        ({"LONG_PLACE_WAIT_SECONDS": "5"}, "below LOGIN_DEADLINE_SECONDS"),
        ({"PLACE_WAIT_SECONDS": "2"}, "keep PLACE_WAIT_SECONDS below READ_DEADLINE_SECONDS"),
        ({"ARRIVING_BYTES_OF_CALLER_MAX": "1048576"}, "< ARRIVING_BYTES_OF_CALLER_MAX"),
        ({"ARRIVING_BYTES_MAX": "4194304"}, "<= ARRIVING_BYTES_MAX"),
        ({"CACHE_URL": "localhost:6379"}, "CACHE_URL: Value error, write it as redis://"),
        ({"TELEMETRY_INSTRUMENTATION": "official"}, "should be 'fast' or 'contrib'"),
        ({"CACHE_URL": "redis://"}, "write it as redis://:password@host:port/0"),
    ],
)
def test_a_combination_that_cannot_work_is_refused_in_one_line(
    settings: dict[str, str],
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name, value in settings.items():
        monkeypatch.setenv(name, value)

    with pytest.raises(SystemExit) as ended:
        read_config()

    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("configuration: ")
    assert said in line


def test_what_it_ships_with_works() -> None:
    Config()
