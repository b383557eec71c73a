"""The record: every run that was started is kept, and a result is never taken twice."""

import contextlib
import fcntl
import json
import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from loadtests.record import __main__ as command
from loadtests.record import docs, drills, picture, plan, record
from loadtests.record.plan import Batch, Run
from loadtests.record.readme import drill_figures
from loadtests.record.runner import VOID_TRIES, Journal, Row, carry_out, verdict
from loadtests.resilience.faults import FAULTS
from loadtests.scenarios import SCENARIOS
from stack.settings import ROOT
from stack.waiting import until

WRITES = "import pathlib, sys; pathlib.Path(sys.argv[-1], 'page.md').touch(); "


def run(key: str, code: str) -> Run:
    return Run(key, "page.md", ("-c", code))


def ended(code: int) -> str:
    return f"{WRITES}print('/some/where/x: as it is'); sys.exit({code})"


def journal_at(directory: Path) -> Journal:
    journal = Journal(directory)
    journal.commit = "0" * 40
    return journal


def test_a_wrong_run_is_kept_and_never_repeated(tmp_path: Path) -> None:
    batches: list[Batch] = [[run("right", ended(0)), run("wrong", ended(1))]]

    carry_out(batches, journal_at(tmp_path))
    carry_out(batches, Journal(tmp_path))

    rows = Journal(tmp_path).rows
    assert [(row["key"], row["exit_code"], row["void"]) for row in rows] == [
        ("right", 0, None),
        ("wrong", 1, None),
    ]
    assert all(row["started"] <= row["ended"] and len(row["load_average"]) == 2 for row in rows)


@pytest.mark.parametrize(
    ("code", "why"),
    [(ended(2), "x: as it is"), ("raise SystemExit(1)", "it said nothing")],
    ids=["it says why", "an error of Python's: no page, no result"],
)
def test_a_void_run_is_tried_again_and_each_try_is_kept(
    tmp_path: Path, code: str, why: str
) -> None:
    carry_out([[run("void", code)]], journal_at(tmp_path))

    rows = Journal(tmp_path).rows
    assert [row["void"] for row in rows] == [why] * VOID_TRIES
    assert f"{VOID_TRIES} void" in docs.page(page_of(rows))


def test_a_record_that_is_not_whole_says_what_is_left(tmp_path: Path) -> None:
    journal = journal_at(tmp_path)
    journal.begin(run("now", ended(0)))

    page = docs.page(page_of(journal.rows))

    assert "1 runs: 1 at work. 1 of the 3 that are planned have no result yet." in page
    assert re.search(r"\| now \| \S+ \S+ \| - \|.*\| at work \|", page)


def test_without_a_run_nothing_is_published(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FIREDRILL_LOCAL", str(tmp_path))
    monkeypatch.setattr(docs, "publish", lambda _journal: pytest.fail("docs/ were written"))

    with pytest.raises(command.Refused, match="none has begun"):
        command.main(["--publish"])


def page_of(rows: list[Row]) -> dict[str, object]:
    return {"commit": "x", "planned": 3, "left": 1, "runs": rows}


@pytest.mark.slow
def test_a_killed_record_goes_on_and_keeps_what_was_interrupted(tmp_path: Path) -> None:
    slow = f"import time; {WRITES}time.sleep(0 if pathlib.Path('{tmp_path}/go').exists() else 60)"
    first, second = run("first", ended(0)), run("second", slow)
    batches = [[first], [second]]
    code = f"""
import sys; from pathlib import Path; from loadtests.record.readme import drill_figures
from loadtests.record.runner import Journal, Run, carry_out
carry_out({batches!r}, Journal(Path(sys.argv[1])))
"""
    child = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], cwd=ROOT)
    pid = until(
        lambda: sum(one["pid"] or 0 for one in Journal(tmp_path).rows[1:]), "the second run"
    )
    child.send_signal(signal.SIGKILL)
    child.wait()
    (tmp_path / "go").touch()

    carry_out(batches, Journal(tmp_path))

    rows = Journal(tmp_path).rows
    assert [(row["key"], row["exit_code"]) for row in rows] == [
        ("first", 0),
        ("second", None),
        ("second", 0),
    ]
    assert verdict(rows[1]) == "interrupted: the record was killed"
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_what_was_interrupted_by_hand_is_kept_too(tmp_path: Path) -> None:
    def interrupt() -> None:
        until(lambda: any(row["pid"] for row in Journal(tmp_path).rows), "the run")
        # One that comes while Python finalizes an object is reported by it, and goes nowhere.
        while not Journal(tmp_path).rows[0]["ended"]:
            os.kill(os.getpid(), signal.SIGINT)
            with contextlib.suppress(TimeoutError):
                until(lambda: Journal(tmp_path).rows[0]["ended"], "its end", seconds=20)

    # As `conduct` does: where the tests run behind a shell's `&`, SIGINT is ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    threading.Thread(target=interrupt).start()
    try:
        with pytest.raises(KeyboardInterrupt):
            carry_out([[run("long", "import time; time.sleep(60)")]], journal_at(tmp_path))
    finally:
        signal.signal(signal.SIGINT, before)

    (row,) = Journal(tmp_path).rows
    assert (row["exit_code"], verdict(row)) == (None, "interrupted")


def test_a_second_record_is_refused_while_one_is_at_work(tmp_path: Path) -> None:
    with (tmp_path / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with (
            pytest.raises(command.Refused, match="one is at work already"),
            command.alone(tmp_path),
        ):
            pytest.fail("two at once")


def test_a_checkout_that_is_not_as_committed_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkout = tmp_path / "checkout"
    (checkout / "docs").mkdir(parents=True)
    monkeypatch.setattr(record, "ROOT", checkout)
    with pytest.raises(command.Refused, match="no git checkout"):
        command.check()
    (checkout / "code.py").touch()
    record.git("init", "--quiet")
    record.git("add", ".")
    record.git("-c", "user.name=a", "-c", "user.email=a@b", "commit", "--quiet", "-m", "one")

    commit = command.check()
    (checkout / "docs" / "drills.md").touch()
    assert command.check(commit) == commit
    with pytest.raises(command.Refused, match="begun at 1234, and this is"):
        command.check("1234")
    (checkout / "code.py").write_text("1")
    with pytest.raises(command.Refused, match=r"1 files differ from the commit, first code.py"):
        command.check()
    assert record.commit().endswith("-dirty")


def test_a_published_record_is_put_aside_and_not_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "check", lambda expected="": expected or "2" * 40)
    journal = journal_at(tmp_path)
    carry_out([[run("right", ended(0))]], journal)
    assert command.opened(tmp_path).rows
    journal.is_published = True
    journal.write()

    assert command.opened(tmp_path).rows == []

    (aside,) = tmp_path.glob("*/runs.json")
    assert [row["key"] for row in json.loads(aside.read_text())["runs"]] == ["right"]


def test_the_plan_has_every_drill_scenario_and_fault() -> None:
    keys = [one.key for one in plan.runs()]
    files = {file.stem for file in (ROOT / "loadtests" / "drills").glob("[a-z]*.py")}

    assert len(keys) == len(set(keys))
    assert {key.split("/")[1] for key in keys if key.startswith("drills/")} == files
    assert {key.split("/")[2] for key in keys if key.startswith("load/firedrill")} == set(
        SCENARIOS
    )
    assert {key.split("/")[2] for key in keys if key.startswith("resilience/plain")} == {
        fault.name for fault in FAULTS
    }
    assert set(plan.WITH_MORE_SEEDS) <= files


def test_drills_that_all_were_void_or_must_not_page_can_be_written(tmp_path: Path) -> None:
    void = [{"name": "quiet", "seed": 1, "load_average": 9.8, "void": "it was busy"}]
    content = drills.content_of([], void)

    assert "| quiet | 1 | 9.8 | it was busy |" in drills.page(content)
    assert "| drills, runs with other seeds, void runs | 0, 0, 1 |" in drill_figures(
        (ROOT / "README.md").read_text(), content
    )
    picture.draw([], tmp_path)


def test_a_record_is_whole_or_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "x.json"
    record.write(file, {"rows": [1]})

    def stop(_: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", stop)
    with pytest.raises(KeyboardInterrupt):
        record.write(file, {"rows": [2]})

    assert record.read(file) == {"rows": [1]}


def test_a_run_is_one_line_of_the_record(tmp_path: Path) -> None:
    rows = [{"name": "a", "figures": [1, 2]}, {"name": "b", "figures": [3] * 900}]
    record.write(tmp_path / "x.json", {"drills": rows * 3})

    text = (tmp_path / "x.json").read_text()
    assert record.read(tmp_path / "x.json") == {"drills": rows * 3}
    assert len(text.splitlines()) == 10
