import re

import pytest

from service import failures
from service.failures import Blame, Failure, Mode


def test_every_code_is_snake_case_and_is_the_name_of_its_constant() -> None:
    constants = {
        value.code: name for name, value in vars(failures).items() if isinstance(value, Mode)
    }

    assert set(constants) == set(failures.MODES)
    for code, name in constants.items():
        assert re.fullmatch(r"[a-z][a-z0-9_]*", code)
        assert name == code.upper()


@pytest.mark.parametrize("mode", list(failures.MODES.values()), ids=lambda mode: mode.code)
def test_an_answered_mode_tells_the_caller_what_happened_and_what_to_do(mode: Mode) -> None:
    assert 400 <= mode.status < 600
    assert mode.title
    assert mode.detail.endswith(".")
    assert mode.explanation.endswith(".")


@pytest.mark.parametrize("mode", list(failures.MODES.values()), ids=lambda mode: mode.code)
def test_blame_fits_the_status(mode: Mode) -> None:
    if mode.blame is Blame.CALLER:
        assert mode.status < 500
    if mode.status == 422:
        assert mode is failures.VALIDATION_FAILED


@pytest.mark.parametrize("mode", list(failures.MODES.values()), ids=lambda mode: mode.code)
def test_a_refusal_for_now_can_be_retried(mode: Mode) -> None:
    if mode.status in {429, 503}:
        assert mode.retryable


def test_what_runs_out_of_time_is_a_504() -> None:
    for code in ("db_timeout", "provider_timeout", "deadline_exceeded"):
        assert failures.mode_of(code).status == 504


def test_a_failure_says_its_code_and_nothing_else() -> None:
    failure = Failure(failures.DB_UNAVAILABLE, cause="auth", log={"sqlstate": "28P01"})

    assert str(failure) == "db_unavailable"


def test_an_unknown_code_is_a_key_error() -> None:
    with pytest.raises(KeyError):
        failures.mode_of("no_such_code")
