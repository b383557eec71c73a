import asyncio
import json
import sysconfig

import pytest

from firedrill_kit.telemetry import guard as guard_module
from firedrill_kit.telemetry.describe import describe
from firedrill_kit.telemetry.guard import Guard, guard, report_to
from firedrill_kit.telemetry.labels import bounded_method


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


def test_the_frames_are_the_applications() -> None:
    with pytest.raises(TypeError) as caught:
        bounded_method([])  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="Expecting") as of_json:
        json.loads("{")

    frames = describe(caught.value)["frames"][-1:] + describe(of_json.value)["frames"]
    assert [frame.rpartition(":")[0] for frame in frames] == [
        "firedrill_kit/telemetry/labels.py:bounded_method",
        "tests/unit/telemetry/test_describe.py:test_the_frames_are_the_applications",
    ]


@pytest.mark.parametrize(
    ("file", "place"),
    [
        ("/srv/.venv/lib/python3.13/site-packages/shop/db/pool.py", "db/pool.py"),
        ("/usr/lib/python3/dist-packages/shop.py", "dist-packages/shop.py"),
        (f"{sysconfig.get_path('stdlib')}/asyncio/tasks.py", "asyncio/tasks.py"),
        ("<string>", "<string>"),
    ],
)
def test_without_any_of_the_application_the_innermost_frame_is_told(file: str, place: str) -> None:
    error = ValueError()
    namespace = {"error": error}
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - it is the one above
        exec(compile("def fail():\n raise error\nfail()", file, "exec"), namespace)  # noqa: S102
    # Without this test's own frame, as an error that a library's thread raised.
    assert caught.value.__traceback__
    error = caught.value.with_traceback(caught.value.__traceback__.tb_next)

    assert describe(error)["frames"] == [f"{place}:fail:2"]


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
