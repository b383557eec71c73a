"""Real faults on stacks of their own: which pages come, in which order, and that they resolve."""

import asyncio
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from loadtests.drills import catalogue
from loadtests.drills.runner import run
from loadtests.judge import judgement
from loadtests.record.readme import QUICK
from loadtests.world.stage import stage_at
from tests.stack.conftest import free_ports


def say(line: str) -> None:
    """Shown by pytest when the test fails."""
    sys.stdout.write(f"{line}\n")


@pytest.mark.timeout(
    600
)  # on a busy machine the start and the quiet before the break take minutes
@pytest.mark.parametrize("name", QUICK)
def test_a_fault_pages_once_by_its_own_name_and_is_resolved(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # Beside two processes that use both cores the whole mix is more than the service can serve: then it
    # refuses, and is paged for that.
    drill = replace(catalogue()[name], warm_seconds=20.0, watch_after_seconds=0.0, mix_ratio=0.4)
    stage = stage_at(tmp_path / name, free_ports())

    course = asyncio.run(run.carry_out(drill, stage, seed=1, say=say))

    # Before the break the service is healthy: an answer that blames the caller says that the load is wrong.
    healthy = [one for one in course.samples if one.due < drill.warm_seconds]
    assert {one.code for one in healthy if one.status in {400, 401, 403, 404, 409, 422}} == set()
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
