"""`make load` against a real stack: what it sends arrives, what it breaks is mended."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from stack.settings import ROOT
from tests.stack.conftest import Stack


def load(stack: Stack, *arguments: str) -> tuple[int, dict[str, Any]]:
    """Run a scenario; returns its exit code and its record."""
    reports = stack.local / "reports"
    before = set(reports.glob("*.json"))
    done = subprocess.run(
        [sys.executable, "-m", "loadtests", *arguments],
        cwd=ROOT,
        env=stack.environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    new = set(reports.glob("*.json")) - before
    assert "Traceback" not in done.stdout + done.stderr
    assert len(new) == 1, done.stdout[-2000:] + done.stderr[-2000:]
    file = new.pop()
    assert file.with_suffix(".html").exists()
    record: dict[str, Any] = json.loads(file.read_text())
    return done.returncode, record


def test_steady_load_by_two_workers_is_served(stack: Stack) -> None:
    code, record = load(stack, "steady", "--duration", "6", "--rate", "20", "--workers", "2")

    (phase,) = record["phases"]
    assert phase["requests"] == record["planned"] > 60
    assert set(phase["statuses"]) == {"200"}, phase
    # A busy machine makes the generator late: it must say so, and then not be green.
    assert code == (
        2 if record["void"] else int(not all(one["holds"] for one in record["limits"]))
    )
    assert not (stack.local / "prometheus" / "targets" / "load.json").exists()


def test_concurrent_refreshes_are_one_call_for_each_grant(stack: Stack) -> None:
    _, record = load(stack, "oauth_refresh", "--duration", "22")

    rounds = {name: seen for name, seen in record["judged"].items() if name.startswith("round")}
    assert len(rounds) == 5
    for seen in rounds.values():
        # The generator that a busy machine makes late releases them after the round, and says so.
        assert seen["callers"] == 40 or record["void"]
        assert seen["grants"] <= 11, "ten, and the prober has one of its own"
        assert seen["grants"] or not seen["callers"]
        assert seen["token_calls"] == seen["grants"]
        assert seen["reuse_seen"] == 0
    control = httpx.get(stack.url("provider", "/_control")).json()
    assert control["all"] == {}, "the provider rotates as it did before"


def test_a_host_that_does_not_answer_is_one_line(stack: Stack, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "loadtests", "steady", "--host", "http://127.0.0.1:1"],
        cwd=ROOT,
        env={**os.environ, "FIREDRILL_LOCAL": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 2
    assert done.stderr == "load: nothing answers at http://127.0.0.1:1: is it up?\n"


@pytest.mark.parametrize("ended_by", ["its input", "SIGKILL"])
def test_what_a_phase_breaks_is_mended_whatever_ends_it(stack: Stack, ended_by: str) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "loadtests.faults"],
        cwd=ROOT,
        env=stack.environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin
    assert process.stdout
    process.stdin.write("break lock profiles\n")
    process.stdin.flush()
    assert process.stdout.readline() == "broken lock profiles\n"
    if ended_by == "SIGKILL":
        process.kill()
    process.communicate()

    headers = {"Authorization": f"Bearer {stack.token('user05@example.com')}"}
    answer = httpx.get(stack.url("service", "/api/v1/profile"), headers=headers, timeout=20)
    assert answer.status_code == 200


def test_an_unknown_break_is_said(stack: Stack) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "loadtests.faults"],
        cwd=ROOT,
        env=stack.environment,
        input="break the bank\n",
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.stdout == "failed the bank: the bank\n"
    assert done.returncode == 0
