"""Carries a plan out, and keeps every run that was started: resumable, and nothing is ever replaced."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

from loadtests.record import record
from loadtests.record.plan import Batch, Run
from loadtests.world.stage import StageError, own_stage
from stack.settings import ROOT

VOID_TRIES = 3
"""A run that says nothing is tried so often, each try kept. A run with a result is never repeated."""
QUIET_LOAD = 0.9
QUIET_PATIENCE_SECONDS = 600.0
END_SECONDS = 60.0
"""For a run that is interrupted: it mends what it broke, and takes its stack away."""
Row = dict[str, Any]


class Journal:
    """The rows of a record, on disk before what they tell of begins. directory: .local/record."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        content = record.read(directory / "runs.json")
        self.commit: str = content.get("commit", "")
        self.is_published: bool = content.get("is_published", False)
        self.rows: list[Row] = content.get("runs", [])

    def write(self) -> None:
        content = {"commit": self.commit, "is_published": self.is_published, "runs": self.rows}
        record.write(self.directory / "runs.json", content)

    def begin(self, run: Run) -> Row:
        number = f"{len(self.rows) + 1:03}"
        row: Row = {
            "key": run.key,
            "folder": f"{number}-{run.key.replace('/', '-')}",
            "command": " ".join(["python", *run.words]),
            "result": run.result,
            "commit": self.commit,
            "started": _now(),
            "ended": None,
            "load_average": [round(os.getloadavg()[0], 2)],
            "exit_code": None,
            "void": None,
            "pid": None,
        }
        self.rows.append(row)
        self.folder(row).mkdir(parents=True)
        self.write()
        return row

    def end(self, row: Row, exit_code: int | None, void: str | None) -> None:
        """exit_code: None, it was interrupted. void: why it says nothing; None: it has a result."""
        row["ended"] = _now()
        row["load_average"].append(round(os.getloadavg()[0], 2))
        row["exit_code"] = exit_code
        row["void"] = void
        self.write()

    def folder(self, row: Row) -> Path:
        return self.directory / "runs" / str(row["folder"])

    def is_done(self, run: Run) -> bool:
        """Whether it has a result, or was void as often as it may be. Interrupted, it runs again."""
        ended = [
            one for one in self.rows if one["key"] == run.key and one["exit_code"] is not None
        ]
        return any(one["void"] is None for one in ended) or len(ended) >= VOID_TRIES


def carry_out(
    plan: Sequence[Batch], journal: Journal, *, check: Callable[[], object] = lambda: None
) -> None:
    """Run what has no result yet. check: before each batch; what it raises ends the record.

    Raises KeyboardInterrupt: what ran is ended, and kept as interrupted.
    """
    _end_leftovers(journal)
    for batch in plan:
        while left := [run for run in batch if not journal.is_done(run)]:
            check()
            _carry_out(left, journal)


def _carry_out(batch: Batch, journal: Journal) -> None:
    if any(run.needs_quiet for run in batch):
        _await_quiet()
    rows = [journal.begin(run) for run in batch]
    try:
        with _stack(any(run.needs_stack for run in batch)) as environment:
            processes = [
                _start(run, row, journal, environment)
                for run, row in zip(batch, rows, strict=True)
            ]
            _await(rows, processes, journal)
    except StageError as error:
        for row in rows:
            journal.end(row, 2, str(error))
    except BaseException:
        for row in rows:
            if row["ended"] is None:
                journal.end(row, None, "interrupted")
        raise


def _start(
    run: Run, row: Row, journal: Journal, environment: Mapping[str, str]
) -> subprocess.Popen[bytes]:
    folder = journal.folder(row)
    print(f"{row['started'][11:19]} {run.key}", flush=True)
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, *run.words, "--into", str(folder)],
            cwd=ROOT,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            # Signals to this process are passed on once, and not also by the terminal.
            start_new_session=True,
        )
    row["pid"] = process.pid
    journal.write()
    return process


def _await(
    rows: Sequence[Row], processes: Sequence[subprocess.Popen[bytes]], journal: Journal
) -> None:
    """Until all have ended; interrupted, all are ended first."""
    try:
        for row, process in zip(rows, processes, strict=True):
            code = process.wait()
            if code < 0 or code == 130:  # by a signal, as Python says it, or as a shell does
                journal.end(row, None, "interrupted")
            else:
                journal.end(row, code, _void(code, journal.folder(row), row["result"]))
            print(f"         {row['key']}: {verdict(row)}", flush=True)
    except KeyboardInterrupt:
        for process in processes:
            _end(process.pid)
            process.wait()
        raise


@contextlib.contextmanager
def _stack(is_needed: bool) -> Iterator[Mapping[str, str]]:  # noqa: FBT001
    """The environment of the runs; with a stack of their own when they need one. Raises StageError."""
    if not is_needed:
        yield os.environ
        return
    stage = own_stage()
    stage.clean()
    try:
        stage.up()
        yield stage.environment
    finally:
        stage.clean()


def _await_quiet() -> None:
    """Until the runs before have left the load average; what does not become quiet is for the run to say."""
    give_up = time.monotonic() + QUIET_PATIENCE_SECONDS
    while os.getloadavg()[0] > QUIET_LOAD and time.monotonic() < give_up:
        time.sleep(1)


def _end_leftovers(journal: Journal) -> None:
    """Rows without an end are of a record that was killed: they were interrupted."""
    for row in journal.rows:
        if row["ended"] is None:
            with contextlib.suppress(psutil.Error):
                if row["pid"] and str(row["folder"]) in " ".join(
                    psutil.Process(row["pid"]).cmdline()
                ):
                    _end(row["pid"])
            journal.end(row, None, "interrupted: the record was killed")


def _end(pid: int) -> None:
    """Interrupt a run and what it started, and wait until it has mended what it broke."""
    with contextlib.suppress(psutil.Error, ProcessLookupError):
        process = psutil.Process(pid)
        os.killpg(pid, signal.SIGINT)
        try:
            process.wait(END_SECONDS)
        except psutil.TimeoutExpired:
            os.killpg(pid, signal.SIGKILL)


def verdict(row: Row) -> str:
    if row["void"]:
        return f"{'' if row['exit_code'] is None else 'void: '}{row['void']}"
    return {None: "running", 0: "as it should be"}.get(row["exit_code"], "fell short")


def _void(code: int, folder: Path, result: str) -> str | None:
    """Why a run that ended has no result; None: it has one. 1 is also how Python ends at an error."""
    if code in {0, 1} and (folder / result).exists():
        return None
    lines = (folder / "log").read_text(errors="replace").strip().splitlines()
    # Without the paths of this machine.
    return re.sub(r"(?<![\w:/])/[\w./-]+/", "", lines[-1])[:300] if lines else "it said nothing"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
