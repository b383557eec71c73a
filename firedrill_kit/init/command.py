"""`firedrill init`: from the name of an application to a file, or one line that says why not."""

from pathlib import Path

from firedrill_kit.config import Config, parse
from firedrill_kit.init.application import load
from firedrill_kit.init.document import text_of
from firedrill_kit.init.errors import InitError, line_of
from firedrill_kit.init.guesses import Guesses, guesses_of


def init(target: str, into: Path, *, overwrite: bool) -> str:
    """Write the file, and return what to say of it. Raises InitError; then nothing is written."""
    if into.exists() and not overwrite:
        raise InitError(f"{into}: it exists; --force overwrites it, --into FILE writes another")
    application = load(target)
    try:
        guesses = guesses_of(application)
        text = text_of(guesses, into)
        config = parse(text, into)
    except InitError:
        raise
    except Exception as error:  # noqa: BLE001 - a document may be made by hand, and be of any shape
        why = f"nothing is written, by a mistake of firedrill's own: {line_of(error)}"
        raise InitError(f"{why}; report it with what GET /openapi.json answers") from None
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
