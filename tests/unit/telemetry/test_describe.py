import asyncio

import pytest

from service.telemetry import guard as guard_module
from service.telemetry.describe import describe
from service.telemetry.guard import Guard, guard, report_to
from service.telemetry.labels import bounded_method


class DriverError(Exception):
    sqlstate = "23505"
    constraint_name = "accounts_email_key"


def raised(error: Exception) -> BaseException:
    def fail() -> None:
        raise error

    with pytest.raises(type(error)) as caught:
        fail()
    return caught.value


def chained() -> BaseException:
    error = RuntimeError("secret")
    error.__cause__ = DriverError("DETAIL: Key (email)=(secret@example.org) already exists.")
    return raised(error)


def test_a_description_has_types_and_codes_of_the_chain_and_no_text() -> None:
    fields = describe(chained())

    assert fields["exception_type"] == "RuntimeError"
    assert fields["caused_by"] == [f"{__name__}.DriverError"]
    assert fields["sqlstate"] == "23505"
    assert fields["constraint"] == "accounts_email_key"
    assert "secret" not in repr(fields)


def test_the_frames_are_ours_when_ours_are_in_the_chain() -> None:
    with pytest.raises(TypeError) as caught:
        bounded_method([])  # type: ignore[arg-type]

    frames = describe(caught.value)["frames"] + describe(raised(ValueError()))["frames"]
    assert [frame.rpartition(":")[0] for frame in frames] == [
        "service/telemetry/labels.py:bounded_method",
        "telemetry/test_describe.py:fail",
    ]


def test_the_fingerprint_is_the_place_and_not_the_message() -> None:
    def fail(message: str) -> BaseException:
        return raised(ValueError(message))

    assert describe(fail("a"))["fingerprint"] == describe(fail("b"))["fingerprint"]
    assert describe(fail("a"))["fingerprint"] != describe(raised(KeyError()))["fingerprint"]


def test_groups_and_cycles_are_described() -> None:
    cyclic = ValueError()
    cyclic.__cause__ = KeyError()
    cyclic.__cause__.__cause__ = cyclic
    group = ExceptionGroup("secret", [KeyError("secret"), TimeoutError()])

    assert describe(cyclic)["caused_by"] == ["KeyError"]
    assert describe(group)["grouped"] == ["KeyError", "TimeoutError"]
    assert "secret" not in repr(describe(group))


def test_a_guard_swallows_errors_and_reports_where(monkeypatch: pytest.MonkeyPatch) -> None:
    reported: list[tuple[str, str]] = []
    monkeypatch.setattr(guard_module, "_report", None)
    report_to(lambda where, error: reported.append((where, type(error).__name__)))

    with guard("traces"):
        raise ValueError

    assert reported == [("traces", "ValueError")]


def test_a_guard_lets_cancellation_pass() -> None:
    assert not Guard("http").__exit__(asyncio.CancelledError, asyncio.CancelledError(), None)


def test_a_guard_survives_a_report_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(where: str, error: Exception) -> None:
        raise RuntimeError

    monkeypatch.setattr(guard_module, "_report", broken)

    with guard("logs"):
        raise ValueError
