"""Two real faults on stacks of their own: which pages come, in which order, and that they resolve."""

import asyncio
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from loadtests.drills.runner import judgement, run
from loadtests.drills.runner.drill import catalogue
from loadtests.drills.runner.report import QUICK
from loadtests.drills.runner.stage import stage_at
from tests.stack.conftest import free_ports


async def both(directory: Path) -> list[run.Course]:
    """Side by side: most of a drill is waiting for windows to fill and to empty."""
    drills = [
        replace(catalogue()[name], warm_seconds=20.0, watch_after_seconds=0.0) for name in QUICK
    ]
    stages = [stage_at(directory / drill.name, free_ports()) for drill in drills]
    return await asyncio.gather(
        *(
            run.carry_out(drill, stage, seed=1, say=partial(say, drill.name))
            for drill, stage in zip(drills, stages, strict=True)
        )
    )


def say(name: str, line: str) -> None:
    """Shown by pytest when the test fails."""
    sys.stdout.write(f"{name}: {line}\n")


def test_each_fault_pages_once_by_its_own_name_and_is_resolved(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    courses = asyncio.run(both(tmp_path))

    for course in courses:
        row = judgement.row_of(course)
        with capsys.disabled():
            seconds = f"page {row['detect_seconds']} s, resolved {row['resolve_seconds']} s"
            sys.stdout.write(f"\n{row['name']}: {seconds}")
        pager = [one for one in row["notices"] if one["receiver"] == "pager"]
        assert [one["status"] for one in pager if one["rang"]] == ["firing"]
        assert tuple(row["first_page"]) == course.drill.expects
        assert pager[-1]["status"] == "resolved"
        assert row["pages_after_mend"] == 0
        assert row["panels"]["unproven"] == []
        assert (row["panels"]["errors"], row["panels"]["warnings"]) == ({}, {})
        found = row["exemplars"]
        assert found["count"] == found["with_trace"] == found["with_line"] > 0
        assert row["memory_peak_bytes"]["service-1"] > 0
