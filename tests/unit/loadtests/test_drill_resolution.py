import asyncio
import itertools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from loadtests.drills.runner import run
from loadtests.faults.fault import nothing
from loadtests.judge.drill import Course, Drill
from loadtests.observe.pager import Notice, open_groups

DRILL = Drill("a_fault", "", (nothing("it"),), ("DbPoolExhausted",), 55, watch_after_seconds=30)
PAGE = Notice(0, "firing", "pager", "group", True, ("DbPoolExhausted",), "text", "runbook")


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Course]:
    """Watches the resolution on a clock of its own: mended at 0, one look a second."""

    def watch(*notices: Notice, after: float = 30) -> Course:
        drill = replace(DRILL, watch_after_seconds=after)
        course = Course(drill, 1, injected=-100, found=[])
        clock = itertools.count()
        now = 0.0

        async def pause(_: float) -> None:
            nonlocal now
            now = float(next(clock))

        async def look(course: Course, *_: object) -> None:
            course.found = [one for one in notices if one.at <= now]

        monkeypatch.setattr("loadtests.drills.runner.run.time.time", lambda: now)
        monkeypatch.setattr("loadtests.drills.runner.run.asyncio.sleep", pause)
        monkeypatch.setattr(run, "_look", look)
        course.found = [one for one in notices if one.at <= 0]
        nobody: Any = None
        asyncio.run(run._watch_resolution(course, nobody, nobody, print))
        course.ended = now
        return course

    return watch


def test_a_page_of_the_last_seconds_is_waited_for(watched: Callable[..., Course]) -> None:
    late = replace(PAGE, at=28)

    course = watched(late, replace(PAGE, at=90, status="resolved"))

    assert open_groups(course.found, since=course.injected) == set()
    assert course.ended == pytest.approx(120, abs=3)


def test_the_watch_ends_when_nothing_pages(watched: Callable[..., Course]) -> None:
    assert watched().ended == pytest.approx(30, abs=2)


def test_a_page_that_is_never_resolved_is_given_up(watched: Callable[..., Course]) -> None:
    course = watched(replace(PAGE, at=-50))

    assert open_groups(course.found, since=course.injected) == {"group"}
    assert course.ended == pytest.approx(run.RESOLVE_PATIENCE_SECONDS + 30, abs=3)


def test_resolution_is_awaited_although_nothing_is_watched_after_it(
    watched: Callable[..., Course],
) -> None:
    rings, ends = replace(PAGE, at=-10), replace(PAGE, at=90, status="resolved")

    course = watched(rings, ends, after=0)

    assert open_groups(course.found, since=course.injected) == set()
    assert course.ended == pytest.approx(90, abs=2)
