"""`python -m stack.logrotation --directory DIR --megabytes N`: keeps the logs of a stack bounded.

Parts append to a file that they keep open, so a grown file is copied to `<name>.1` and emptied in
place (logrotate calls it copytruncate): no part has to take part, and none stops when this
program does. The price is what is written between the copy of the last bytes and the emptying,
some microseconds. The copy is whole when it gets its name and before the file is emptied, so that a
reader finds there what it had not read yet. Only the standard library: it is one more process, so it
must be a small one.
"""

import os
import shutil
import signal
import sys
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path

from stack.command_line import Parser, run, whole

EVERY_SECONDS = 2.0
"""At 2,000 log lines a second (700 bytes each) the files grow by 3 MB between two looks."""
FILE_BYTES = 5_000_000
"""A file larger than this is rotated."""
UNFINISHED = ".rotating-"
"""Before the name of a copy that is not whole yet, which no reader of logs looks for."""


def rotate(directory: Path, limit_bytes: int, file_bytes: int = FILE_BYTES) -> None:
    """Rotate every file that is too large, then bring all together under the limit.

    What goes first is the oldest rotated file; without any, the largest live one is rotated.
    """
    for file in _live(directory):
        if file.stat().st_size > file_bytes:
            copy_and_empty(file)
    while _total(directory.iterdir()) > limit_bytes:
        old = sorted(directory.glob("*.1"), key=lambda file: file.stat().st_mtime)
        if old:
            old[0].unlink()
        else:
            os.truncate(max(_live(directory), key=lambda file: file.stat().st_size), 0)


def copy_and_empty(file: Path) -> None:
    """Move the content of a file that others append to into `<name>.1`."""
    unfinished = file.with_name(f"{UNFINISHED}{file.stem}")
    with file.open("r+b") as live, unfinished.open("wb") as copy:
        shutil.copyfileobj(live, copy)
        copy.flush()
        unfinished.rename(file.with_name(f"{file.name}.1"))
        # Whatever was appended meanwhile: only these last bytes race.
        shutil.copyfileobj(live, copy)
        copy.flush()
        live.truncate(0)


def _live(directory: Path) -> list[Path]:
    return [
        file
        for file in directory.iterdir()
        if file.suffix != ".1" and not file.name.startswith(UNFINISHED)
    ]


def _total(files: Iterable[Path]) -> int:
    return sum(file.stat().st_size for file in files)


def main(arguments: Sequence[str]) -> None:
    parser = Parser(prog="logrotation", description=__doc__)
    parser.add_argument("--directory", type=Path, required=True)
    parser.add_argument(
        "--megabytes", type=whole(1, 1_000_000), required=True, help="of all files together"
    )
    options = parser.parse_args(arguments)
    stopped = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopped.set())
    while not stopped.wait(EVERY_SECONDS):
        try:
            rotate(options.directory, options.megabytes * 1_000_000)
        except OSError as error:  # a full disk now does not mean no rotation later
            print(f"rotation failed: {error.strerror}", file=sys.stderr)


if __name__ == "__main__":
    run("logrotation", lambda: main(sys.argv[1:]))
