"""`python -m deploy.compose.launch [--log FILE] PROGRAM ARGUMENT...`: the first process of a container.

Adds the files of every folder in SECRETS (colons between) to the environment, named as they are, and
copies the program's output to FILE for the collector, which must not be given the engine's socket to
read `docker logs`. The copy ends after the program does, so that its last lines are not lost; signals
go to the program. Exits as the program does.
"""

import argparse
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

CHUNK_BYTES = 64 * 1024


def secrets_of(folders: str) -> dict[str, str]:
    """Read every file of the folders. Raises OSError."""
    return {
        file.name: file.read_text(encoding="utf-8")
        for folder in folders.split(":")
        if folder
        for file in Path(folder).iterdir()
    }


def run(command: list[str], environment: Mapping[str, str], log: Path | None) -> int:
    """Run the program to its end and return its exit code, 128 + n when signal n ended it."""
    # Before there is a program: the first process of a container never gets a signal that it has no
    # handler for, and the stop would wait for SIGKILL.
    early: list[int] = []
    forward = early.append
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda number, _frame: forward(number))
    with subprocess.Popen(  # noqa: S603 - the container's own command
        command, env=dict(environment), stdout=None if log is None else subprocess.PIPE
    ) as program:
        forward = program.send_signal
        for missed in early:
            forward(missed)
        if log is not None and program.stdout is not None:
            # Appending, so that log rotation may truncate the file.
            copy = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
            while chunk := os.read(program.stdout.fileno(), CHUNK_BYTES):
                for output in (sys.stdout.fileno(), copy):
                    _write(output, chunk)
        code = program.wait()
    return code if code >= 0 else 128 - code


def _write(output: int, chunk: bytes) -> None:
    """A full disk must not stop the program by a full pipe: what cannot be written is left out."""
    try:
        while chunk:
            chunk = chunk[os.write(output, chunk) :]
    except OSError:
        return


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m deploy.compose.launch", description=__doc__)
    parser.add_argument("--log", type=Path)
    parser.add_argument("command", nargs=argparse.REMAINDER)
    given = parser.parse_args(arguments)
    if not given.command:
        parser.exit(2, "launch: name a program\n")
    try:
        secrets = secrets_of(os.environ.get("SECRETS", ""))
        return run(given.command, os.environ | secrets, given.log)
    except OSError as error:
        parser.exit(2, f"launch: {error.filename}: {error.strerror}\n")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
