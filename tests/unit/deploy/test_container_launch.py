"""The first process of a container: secrets in, signals through, no line lost at the end."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from deploy.compose import launch
from stack.settings import ROOT


def start(*arguments: str | Path, **environment: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "deploy.compose.launch", *map(str, arguments)],
        cwd=ROOT,
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def test_secrets_become_variables_of_the_program_alone(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "SESSION_KEY").write_text("from-a-file")

    program = start(
        *python("import os; print(os.environ['SESSION_KEY'])"), SECRETS=f"{tmp_path}/one"
    )

    assert program.communicate()[0] == "from-a-file\n"
    assert "SESSION_KEY" not in os.environ


def test_the_last_lines_reach_the_file_and_the_output(tmp_path: Path) -> None:
    log = tmp_path / "part.jsonl"
    log.write_text("before\n")

    program = start(
        "--log", log, *python("import os; os.write(1, b'x' * 200_000); os.write(1, b'end')")
    )

    assert program.communicate()[0] == "x" * 200_000 + "end"
    assert log.read_text() == "before\n" + "x" * 200_000 + "end"


def test_a_signal_reaches_the_program_and_its_answer_is_the_exit_code(tmp_path: Path) -> None:
    code = (
        "import signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: (print('stopped', flush=True), sys.exit(7)))\n"
        "print('ready', flush=True)\n"
        "time.sleep(60)"
    )
    log = tmp_path / "part.jsonl"
    program = start("--log", log, *python(code))
    # The whole line: unbuffered, its end is written apart.
    while not (log.exists() and "ready\n" in log.read_text()):
        time.sleep(0.01)

    program.send_signal(signal.SIGTERM)

    assert program.communicate()[0] == "ready\nstopped\n"
    assert program.returncode == 7


def test_a_signal_that_comes_before_the_program_reaches_it() -> None:
    early = (
        "import os, signal, sys\n"
        "from deploy.compose import launch\n"
        "class Program(launch.subprocess.Popen):\n"
        "    def __init__(self, *given, **more):\n"
        "        os.kill(os.getpid(), signal.SIGTERM)\n"
        "        super().__init__(*given, **more)\n"
        "launch.subprocess.Popen = Program\n"
        "sys.exit(launch.main([sys.executable, '-c', 'import time; time.sleep(60)']))"
    )

    ended = subprocess.run(python(early), cwd=ROOT, check=False, timeout=30)

    assert ended.returncode == 128 + signal.SIGTERM


def test_a_program_that_a_signal_ended_exits_as_a_shell_says_it() -> None:
    program = start(*python("import os, signal; os.kill(os.getpid(), signal.SIGKILL)"))
    program.communicate()

    assert program.returncode == 128 + signal.SIGKILL


def test_a_log_that_cannot_be_written_does_not_stop_the_program() -> None:
    program = start("--log", "/dev/full", *python("print('on')"))

    assert program.communicate()[0] == "on\n"
    assert program.returncode == 0


def test_what_cannot_be_started_is_one_line() -> None:
    program = start("no-such-program")
    error = program.communicate()[1]

    assert program.returncode == 2
    assert error.count("\n") == 1
    assert "no-such-program" in error
    assert launch.secrets_of("") == {}
