"""Flags of `python -m stack.provider` and the environment variables behind them."""

import pytest

from stack.provider.__main__ import parse


def test_the_flag_wins_over_the_environment_and_that_over_the_default() -> None:
    environment = {"PROVIDER_PORT": "1", "PROVIDER_EXPIRES_IN": "5"}

    flags = parse(["--port", "2"], environment)

    assert (flags.port, flags.expires_in, flags.rotation) == (2, 5, "none")
    assert flags.host == "127.0.0.1"


@pytest.mark.parametrize(
    ("arguments", "environment", "named"),
    [
        (["--port", "65536"], {}, "--port"),
        (["--port", "-1"], {}, "--port"),
        (["--rotation", "sometimes"], {}, "--rotation"),
        (["--grace-seconds", "nan"], {}, "--grace-seconds"),
        (["--expires-in", "1.5"], {}, "--expires-in"),
        (["--unknown"], {}, "--unknown"),
        ([], {"PROVIDER_ROTATION": "sometimes"}, "--rotation"),
    ],
)
def test_what_does_not_fit_is_one_line_and_exit_2(
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    environment: dict[str, str],
    named: str,
) -> None:
    with pytest.raises(SystemExit) as ended:
        parse(arguments, environment)

    message = capsys.readouterr().err
    assert ended.value.code == 2
    assert message.count("\n") == 1
    assert named in message


def test_help_shows_every_variable_but_no_secret(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(["--help"], {"PROVIDER_CLIENT_SECRET": "CANARY"})

    shown = capsys.readouterr().out
    assert "PROVIDER_STATE" in shown
    assert "CANARY" not in shown
