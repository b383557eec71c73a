"""The command lines: a wrong argument or a failure is one line that says what to do, never a traceback."""

import argparse
import math
import sys
from collections.abc import Callable
from typing import NoReturn


class Parser(argparse.ArgumentParser):
    """argparse's, without the usage before the error. Exits 2."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}; see --help\n")


def run(
    name: str,
    main: Callable[[], int | None],
    *errors: type[Exception],
    interrupted: str = "interrupted",
) -> NoReturn:
    """Run a command and exit with what it returns.

    Exits 2 with the text of an OSError or of one of `errors`, and 130 at Ctrl-C.
    """
    try:
        sys.exit(main())
    except OSError as error:
        print(f"{name}: {_text(error)}", file=sys.stderr)
        sys.exit(2)
    except errors as error:
        print(f"{name}: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print(f"{name}: {interrupted}", file=sys.stderr)
        sys.exit(130)


def _text(error: OSError) -> str:
    return f"{error.filename}: {error.strerror}" if error.filename else str(error)


def whole(least: int, most: int) -> Callable[[str], int]:
    """Return the type of an argument that is a whole number between these, both included."""

    def parse(text: str) -> int:
        # Without a limit of digits, int() takes seconds for a long text.
        if text.isascii() and text.isdecimal() and len(text) < 10 and least <= int(text) <= most:
            return int(text)
        raise argparse.ArgumentTypeError(
            f"{text[:20]!r} is no whole number from {least} to {most}"
        )

    return parse


port = whole(0, 65535)
"""The type of an argument that is a port; 0: any free one."""


def above_zero(text: str) -> float:
    """The type of an argument that is a rate or a duration. Raises argparse.ArgumentTypeError."""
    value = number(text, "above 0")
    if value == 0:
        raise _no_number(text, "above 0")
    return value


def number(text: str, which: str = "from 0 on") -> float:
    """The type of an argument that is a number, 0 included. Raises argparse.ArgumentTypeError."""
    try:
        value = float(text)
    except ValueError:
        raise _no_number(text, which) from None
    if not 0 <= value < math.inf:
        raise _no_number(text, which)
    return value


def _no_number(text: str, which: str) -> argparse.ArgumentTypeError:
    return argparse.ArgumentTypeError(f"{text[:20]!r} is no number {which}")
