"""`firedrill`: the commands that an application's own environment can run."""

import argparse
import os
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from firedrill_kit.config.errors import one_line
from firedrill_kit.init.command import init
from firedrill_kit.init.errors import InitError
from firedrill_kit.settings import FILE

_CHECK = "check is a command of Firedrill's checkout: run `./firedrill check FILE` there"


def main(arguments: Sequence[str] | None = None) -> int:
    """Return 0, or 2 after one line that says what is wrong and what to do."""
    code = _run(arguments)
    sys.stdout.flush()
    is_program = arguments is None
    if is_program and any(not one.daemon for one in threading.enumerate()[1:]):
        # What the import of an application has started would be waited for, for ever.
        os._exit(code)
    return code


def _run(arguments: Sequence[str] | None) -> int:
    parser = argparse.ArgumentParser(prog="firedrill", description=__doc__, epilog=_CHECK)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    of_init = commands.add_parser("init", help="write a first firedrill.toml for an application")
    of_init.add_argument("application", help="MODULE:ATTRIBUTE, as for uvicorn: app.main:app")
    of_init.add_argument("--into", type=Path, default=Path(FILE), metavar="FILE", help=f"({FILE})")
    of_init.add_argument("--force", action="store_true", help="overwrite the file")
    if (sys.argv[1:] if arguments is None else arguments)[:1] == ["check"]:
        sys.stderr.write(f"firedrill: {_CHECK}\n")
        return 2
    given = parser.parse_args(arguments)
    try:
        said = init(given.application, given.into, overwrite=given.force)
    except InitError as error:
        sys.stderr.write(f"firedrill: {one_line(str(error))}\n")
        return 2
    sys.stdout.write(said)
    return 0


if __name__ == "__main__":
    sys.exit(main())
