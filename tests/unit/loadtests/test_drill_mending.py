import asyncio
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import asyncpg
import httpx
import pytest

from loadtests.drills import catalogue
from loadtests.drills.runner import run
from loadtests.faults import mending
from loadtests.faults.fault import Fault
from loadtests.judge.drill import Course
from loadtests.world.interface import Mend, World
from loadtests.world.stage import stage_at
from stack.settings import ROOT
from stack.waiting import until

RUNNER = """
import sys, time
from pathlib import Path
from loadtests.faults import mending
local = Path(sys.argv[1])
with mending.Guard(local, clean=False):
    broken = local / "broken"
    mending.write_down(local, [{"kind": "restore", "file": str(broken), "content": "whole"}])
    broken.write_text("broken")
    print("broken", flush=True)
    time.sleep(600)
"""


def restore(file: Path) -> Mend:
    return {"kind": "restore", "file": str(file), "content": "whole"}


def test_what_is_to_mend_is_for_its_owner_only(tmp_path: Path) -> None:
    mending.write_down(tmp_path, [restore(tmp_path / "a")])

    assert mending.record_of(tmp_path).stat().st_mode & 0o777 == 0o600


def test_mends_add_up_and_are_done_last_first_and_then_forgotten(tmp_path: Path) -> None:
    same = tmp_path / "same"
    mending.write_down(tmp_path, [{"kind": "restore", "file": str(same), "content": "first"}])
    mending.write_down(tmp_path, [{"kind": "restore", "file": str(same), "content": "second"}])

    failed = asyncio.run(mending.mend(tmp_path))

    assert failed == []
    assert same.read_text() == "first"
    assert mending.to_mend(tmp_path) == []


def test_what_cannot_be_mended_stays_written_down_and_the_rest_is_mended(tmp_path: Path) -> None:
    mending.write_down(tmp_path, [restore(tmp_path / "a"), restore(tmp_path / "none" / "b")])

    failed = asyncio.run(mending.mend(tmp_path))

    assert [text.partition(":")[0] for text in failed] == ["restore"]
    assert (tmp_path / "a").read_text() == "whole"
    assert len(mending.to_mend(tmp_path)) == 2


def test_an_error_that_nobody_foresaw_does_not_keep_the_rest_from_being_mended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def closed(**_: object) -> None:
        raise asyncpg.InterfaceError("connection is closed")

    monkeypatch.setitem(mending._KINDS, "sql", closed)
    mending.write_down(tmp_path, [restore(tmp_path / "a"), {"kind": "sql"}])

    failed = asyncio.run(mending.mend(tmp_path))

    assert failed == ["sql: InterfaceError('connection is closed')"]
    assert (tmp_path / "a").read_text() == "whole"


def test_a_break_that_fails_ends_the_drill_at_once_and_all_is_mended(tmp_path: Path) -> None:
    file = tmp_path / "file"

    async def cause(_: World) -> None:
        file.write_text("half broken")
        raise ConnectionRefusedError("no database")

    one = Fault("the database is broken", cause, lambda _: [restore(file)])
    course = Course(replace(catalogue()["quiet"], breaks=(one,)), seed=1)

    async def drill() -> None:
        async with asyncio.timeout(20), run._broken(course, stage_at(tmp_path, {}), print):
            await asyncio.sleep(600)  # for a page

    with pytest.raises(ConnectionRefusedError, match="no database"):
        asyncio.run(drill())
    assert file.read_text() == "whole"


def test_a_break_that_lasts_a_time_is_mended_then_and_its_record_stays(tmp_path: Path) -> None:
    """Should the runner be killed later, it is mended once more, which does no harm."""
    file, said = tmp_path / "file", list[str]()
    file.write_text("whole")

    async def cause(_: World) -> None:
        file.write_text("broken")

    one = Fault("the file is broken", cause, lambda _: [restore(file)], lasts_seconds=0.0)
    stage = stage_at(tmp_path, {})
    mends = one.mends(stage)
    mending.write_down(tmp_path, mends)
    course = Course(replace(catalogue()["quiet"], breaks=(one,)), seed=1)

    asyncio.run(run._cause(course, stage, one, mends, said.append))

    assert file.read_text() == "whole"
    assert [text.split("  ")[-1] for text in said] == [
        "broken: the file is broken",
        "mended: the file is broken",
    ]
    assert mending.to_mend(tmp_path) == mends


def test_what_is_mended_is_forgotten_and_the_rest_is_not(tmp_path: Path) -> None:
    """Of two faults of one run the first is over; should the run be killed now, the second is mended."""
    first, second = restore(tmp_path / "first"), restore(tmp_path / "second")
    mending.write_down(tmp_path, [first, second])

    failed = asyncio.run(mending.mend(tmp_path, [first]))

    assert failed == []
    assert (tmp_path / "first").read_text() == "whole"
    assert not (tmp_path / "second").exists()
    assert mending.to_mend(tmp_path) == [second]


def test_a_cause_that_fails_half_way_is_mended(tmp_path: Path) -> None:
    async def cause(_: World) -> None:
        (tmp_path / "file").write_text("half broken")
        raise OSError("half way")

    async def attempt() -> None:
        fault = Fault("the file is broken", cause, lambda _: [restore(tmp_path / "file")])
        async with mending.broken(stage_at(tmp_path, {}), fault):
            pass

    with pytest.raises(OSError, match="half way"):
        asyncio.run(attempt())
    assert (tmp_path / "file").read_text() == "whole"
    assert mending.to_mend(tmp_path) == []


def test_a_control_port_that_died_with_its_run_needs_no_mend(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def refuse(*_: object, **__: object) -> httpx.Response:
        raise httpx.ConnectError("refused")

    monkeypatch.setattr(httpx.AsyncClient, "post", refuse)
    gone: Mend = {"kind": "post", "url": "http://127.0.0.1:1/", "content": {}}

    assert asyncio.run(mending.undo([gone | {"may_be_gone": True}])) == []
    assert len(asyncio.run(mending.undo([gone]))) == 1


@pytest.mark.slow
def test_a_runner_that_is_killed_is_mended_after(tmp_path: Path) -> None:
    runner = subprocess.Popen(
        [sys.executable, "-c", RUNNER, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE
    )
    assert runner.stdout is not None
    assert runner.stdout.readline() == b"broken\n"
    assert (tmp_path / "broken").read_text() == "broken"

    os.kill(runner.pid, signal.SIGKILL)
    runner.wait()
    runner.stdout.close()

    until(lambda: (tmp_path / "broken").read_text() == "whole", "the mend")
    until(lambda: not mending.record_of(tmp_path).exists(), "the end of the record")


@pytest.mark.slow
def test_a_runner_whose_own_mending_is_interrupted_is_mended_after(tmp_path: Path) -> None:
    mending.write_down(tmp_path, [restore(tmp_path / "a")])

    with pytest.raises(KeyboardInterrupt), mending.Guard(tmp_path, clean=False):
        raise KeyboardInterrupt

    assert (tmp_path / "a").read_text() == "whole"
    assert mending.to_mend(tmp_path) == []


def test_a_start_that_takes_too_long_does_not_keep_the_rest_from_being_mended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def too_long() -> None:
        raise subprocess.TimeoutExpired("up", 1)

    monkeypatch.setitem(mending._KINDS, "up", too_long)
    mending.write_down(tmp_path, [restore(tmp_path / "a"), {"kind": "up"}])

    failed = asyncio.run(mending.mend(tmp_path))

    assert [text.partition(":")[0] for text in failed] == ["up"]
    assert (tmp_path / "a").read_text() == "whole"


@pytest.mark.slow
def test_a_runner_that_ends_well_leaves_the_guard_nothing_to_do(tmp_path: Path) -> None:
    with mending.Guard(tmp_path, clean=False):
        mending.write_down(tmp_path, [restore(tmp_path / "a")])

    assert not (tmp_path / "a").exists()
