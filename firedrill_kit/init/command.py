"""`firedrill init`: from the name of an application to a file, or one line that says why not."""

from pathlib import Path

from firedrill_kit.config import Config, ConfigError, parse
from firedrill_kit.init.application import load
from firedrill_kit.init.document import text_of
from firedrill_kit.init.errors import InitError
from firedrill_kit.init.guesses import Guesses, guesses_of


def init(target: str, into: Path, *, overwrite: bool) -> str:
    """Write the file, and return what to say of it. Raises InitError; then nothing is written."""
    if into.exists() and not overwrite:
        raise InitError(f"{into}: it exists; --force overwrites it, --into FILE writes another")
    guesses = guesses_of(load(target))
    text = text_of(guesses, into)
    try:
        config = parse(text, into)
    except ConfigError as error:
        # A guess that the reader refuses is a mistake of ours, which no user can mend.
        raise InitError(
            f"nothing is written, by a mistake of firedrill's own: {error.lines[0]}"
        ) from None
    try:
        into.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InitError(f"{into}: {error.strerror}; name another file with --into") from None
    return _said(guesses, config, into)


def _said(guesses: Guesses, config: Config, into: Path) -> str:
    signs_in = guesses.sign_in.operation.name if guesses.sign_in else "none found"
    return (
        f"{into} is written: {config.service.name}, {len(guesses.mix)} routes in the mix and"
        f" {len(guesses.others)} to fill in, {len(guesses.tables)} tables, sign-in: {signs_in}\n"
        "Read the lines that say guess; then `./firedrill check FILE`, in Firedrill's repository, says which"
        " alerts can fire.\n"
    )
