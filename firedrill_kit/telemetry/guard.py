"""A bug of the telemetry never breaks a request: it is swallowed here, counted and logged.

Wrap what observes, never what is observed: an exception of the application must not pass through a
guard. Only `Exception` is swallowed, so that cancellations and exits go on.
"""

from collections.abc import Callable
from contextlib import suppress
from functools import cache
from types import TracebackType

Report = Callable[[str, Exception], None]
"""Called with where the bug was and what it raised."""


def _say_nothing(where: str, error: Exception) -> None:
    """Stand in until the process says whom to tell."""


_report: Report = _say_nothing


def report_to(report: Report) -> None:
    """Have each swallowed error reported; an error of the report itself is ignored."""
    global _report  # noqa: PLW0603 - one process, one place that counts
    _report = report


class Guard:
    """Swallows what is raised inside its `with` block; stateless, so one serves all threads."""

    __slots__ = ("where",)

    def __init__(self, where: str) -> None:
        self.where = where

    def __enter__(self) -> None:
        return None

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        if not isinstance(error, Exception):
            return False
        with suppress(Exception):  # there is nobody left to tell
            _report(self.where, error)
        return True


@cache
def guard(where: str) -> Guard:
    """Return the guard of one part of the telemetry: http, logs, traces or collectors."""
    return Guard(where)
