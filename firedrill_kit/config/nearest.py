"""What was probably meant: the end of an error line."""

from collections.abc import Iterable
from difflib import get_close_matches

Problem = tuple[tuple[str | int, ...], str]
"""A key, and what is wrong with it and what to do."""
NAMES_MAX = 12


def nearest(name: str, known: Iterable[str]) -> str:
    """Return the remedy: the name that was probably meant, or those that there are."""
    names = sorted(known)
    close = get_close_matches(name, names, n=1)
    if close:
        return f' write "{close[0]}"'
    some = ", ".join(f'"{one}"' for one in names[:NAMES_MAX])
    return f" write one of {some}" if some else " there is none to choose from: leave it out"
