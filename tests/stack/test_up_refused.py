"""What keeps a stack from coming up: each ends in one clear line and leaves nothing running."""

import errno
import fcntl
import json
import os
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from stack import lifecycle, parts, processes
from stack.__main__ import main
from stack.settings import DEFAULT_PORTS, ROOT, variable
from stack.waiting import until
from tests.stack.conftest import Stack


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"PORT_OFFSET": "many"}, "PORT_OFFSET='many': give a whole number"),
        ({"REPLICAS": "0"}, "REPLICAS='0': give a whole number from 1"),
        ({"PAGER_PORT": "80"}, "PAGER_PORT='80': give a whole number from 1024"),
        ({"PAGER_PORT": "20000", "VIEWER_PORT": "20000"}, "both ask for port 20000"),
    ],
)
def test_a_setting_that_cannot_be_used_is_one_line_and_exit_2(
    new_stack: Stack, variables: dict[str, str], said: str
) -> None:
    new_stack.variables = variables

    done = new_stack.run("up")

    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_taken_port_names_who_has_it_and_the_variable_that_moves_it(new_stack: Stack) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", new_stack.ports["provider"]))
        other.listen()

        done = new_stack.run("up")

    assert done.returncode == 1
    assert f"port {new_stack.ports['provider']} for provider is taken" in done.stderr
    assert f"pid {os.getpid()} " in done.stderr
    assert "set PROVIDER_PORT" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert new_stack.processes() == []


def test_the_offset_that_is_advised_has_been_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PORT_OFFSET", *map(variable, DEFAULT_PORTS)):
        monkeypatch.delenv(name, raising=False)
    taken = {DEFAULT_PORTS["pager"] + 1000, DEFAULT_PORTS["viewer"] + 1100}
    monkeypatch.setattr(lifecycle, "is_taken", taken.__contains__)

    assert lifecycle._or_an_offset() == ", or PORT_OFFSET=1200 to move them all"


def test_a_part_that_dies_shows_its_last_words_and_takes_the_others_along(
    new_stack: Stack,
) -> None:
    new_stack.local.mkdir()
    (new_stack.local / "provider.json").write_text("no JSON")

    done = new_stack.run("up")

    assert done.returncode == 1
    assert "provider exited with code 2 before it was ready" in done.stderr
    assert "provider.json" in done.stderr
    assert "Traceback" not in done.stderr
    assert new_stack.processes() == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_in_the_middle_stops_what_was_started(
    new_stack: Stack, number: signal.Signals
) -> None:
    command = new_stack.command("up")
    until(lambda: len(new_stack.processes()) > 3, "the command and some parts")

    command.send_signal(number)
    _, error = command.communicate(timeout=60)

    assert command.returncode == 130
    assert error.splitlines() == ["stack: interrupted; what this command had started is stopped"]
    assert new_stack.processes() == []


def test_a_full_disk_is_one_line(
    new_stack: Stack, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, text in new_stack.environment.items():
        monkeypatch.setenv(name, text)
    monkeypatch.setattr(lifecycle, "DISK_FREE_MEGABYTES", 10**9)

    exit_code = main(["up"])

    assert exit_code == 1
    error = capsys.readouterr().err
    assert "MB free at" in error
    assert len(error.splitlines()) == 1


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_disk_that_fills_up_on_the_way_is_one_line(
    number: int,
    new_stack: Stack,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number), "credentials.unfinished")

    for name, text in new_stack.environment.items():
        monkeypatch.setenv(name, text)
    monkeypatch.setattr(parts, "load_credentials", full)

    exit_code = main(["up"])

    assert exit_code == 1
    said = "stack: credentials.unfinished: the disk is full: make room and try again\n"
    assert capsys.readouterr().err == said


def test_clean_leaves_what_it_did_not_write(new_stack: Stack) -> None:
    new_stack.local.mkdir()
    (new_stack.local / "thesis.txt").write_text("mine")
    (new_stack.local / "provider.json").write_text("{}")

    done = new_stack.run("clean")

    assert done.returncode == 0, done.stderr
    assert [entry.name for entry in new_stack.local.iterdir()] == ["thesis.txt"]


def test_a_recycled_pid_in_the_state_file_is_nobody_of_ours(new_stack: Stack) -> None:
    with subprocess.Popen(["sleep", "600"]) as bystander:
        stale = processes.Running(
            name="viewer",
            pid=bystander.pid,
            identity="the process that had this pid before",
            started_at=0,
            stop_signal=signal.SIGTERM,
            log="",
        )
        new_stack.local.mkdir()
        state = {"parts": {"viewer": stale.__dict__}, "ports": new_stack.ports, "replicas": 1}
        (new_stack.local / "state.json").write_text(json.dumps(state))

        status, down = new_stack.run("status"), new_stack.run("down")

        assert bystander.poll() is None
        bystander.kill()
    assert (status.returncode, status.stdout) == (1, "nothing is running; `make up` starts it\n")
    assert (down.returncode, down.stdout) == (0, "nothing was running\n")


def test_a_damaged_state_file_is_said_and_ignored(new_stack: Stack) -> None:
    new_stack.local.mkdir()
    (new_stack.local / "state.json").write_text('{"parts": ')

    done = new_stack.run("down")

    assert (done.returncode, done.stdout) == (0, "nothing was running\n")
    assert done.stderr == f"{new_stack.local / 'state.json'} is damaged and ignored\n"


def test_two_commands_at_once_wait_for_each_other(new_stack: Stack) -> None:
    new_stack.local.mkdir()
    with (new_stack.local / "lock").open("w") as lock:
        lock.write("4711")
        lock.flush()
        fcntl.flock(lock, fcntl.LOCK_EX)
        second = new_stack.command("down")
        assert second.stdout is not None
        said = second.stdout.readline()
        assert second.poll() is None

    out, _ = second.communicate(timeout=60)

    assert said == "another command is at work (pid 4711): waiting for it\n"
    assert out == "nothing was running\n"


def test_the_run_time_directory_is_ignored_by_git() -> None:
    ignored = (ROOT / ".gitignore").read_text().split()

    assert {"/.local", "/.venv/", "/.tools/"} <= set(ignored)
    assert Path(ROOT / ".ci" / "run").stat().st_mode & 0o111
