"""What may be said about an exception: its type and where it came from, never its text.

Driver messages carry values (`DETAIL: Key (email)=(...)`), also when parameters are hidden, and a
traceback prints the messages of the whole chain.
"""

import hashlib
import sys
import sysconfig
from collections.abc import Iterator
from functools import lru_cache
from types import TracebackType
from typing import Any

CHAIN_MAX = 6
FRAMES_MAX = 12

_INSTALLED = ("site-packages", "dist-packages")
_STANDARD_LIBRARY = sysconfig.get_path("stdlib")


def describe(error: BaseException) -> dict[str, Any]:
    """Return loggable fields: `exception_type`, `frames`, `fingerprint`, and what the chain tells.

    `caused_by`: types of the chain behind it, outermost first; `sqlstate` and `constraint`: the first
    the chain has; `grouped`: types inside an exception group. `frames`: the application's, which is
    neither Python nor an installed package, innermost last, or the innermost one when none is.
    `fingerprint`: same types at the same functions, same fingerprint, whatever the line numbers.
    """
    chain = list(_chain(error))
    frames = _frames(chain)
    types = [_name(item) for item in chain]
    fields: dict[str, Any] = {"exception_type": types[0]}
    if types[1:]:
        fields["caused_by"] = types[1:]
    if isinstance(error, BaseExceptionGroup):
        fields["grouped"] = [_name(item) for item in error.exceptions[:CHAIN_MAX]]
    for field, attribute in (("sqlstate", "sqlstate"), ("constraint", "constraint_name")):
        found = next(filter(None, (getattr(item, attribute, None) for item in chain)), None)
        if isinstance(found, str):
            fields[field] = found
    fields["frames"] = [f"{place}:{line}" for place, line in frames]
    where = "|".join([*types, *(place for place, _ in frames)])
    fields["fingerprint"] = hashlib.blake2b(where.encode(), digest_size=8).hexdigest()
    return fields


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield the error and what it was raised from or during, as a traceback would show them."""
    seen: set[int] = set()
    item: BaseException | None = error
    while item is not None and id(item) not in seen and len(seen) < CHAIN_MAX:
        seen.add(id(item))
        yield item
        item = item.__cause__ or (None if item.__suppress_context__ else item.__context__)


def _frames(chain: list[BaseException]) -> list[tuple[str, int]]:
    """Return (file:function, line), of the application's code if any of it is in the chain."""
    for error in chain:
        frames = list(_walk(error.__traceback__))
        own = [(place, line) for place, line, is_own in frames if is_own]
        if own:
            return own[-FRAMES_MAX:]
    innermost = next((list(_walk(item.__traceback__))[-1:] for item in chain), [])
    return [(place, line) for place, line, _ in innermost]


def _walk(traceback: TracebackType | None) -> Iterator[tuple[str, int, bool]]:
    while traceback is not None:
        code = traceback.tb_frame.f_code
        file, is_own = _place(code.co_filename)
        yield f"{file}:{code.co_name}", traceback.tb_lineno, is_own
        traceback = traceback.tb_next


@lru_cache(maxsize=1024)
def is_of_application(file: str) -> bool:
    """Tell whether code of this file is neither Python's nor an installed package's."""
    return not file.startswith((f"{_STANDARD_LIBRARY}/", "<")) and not any(
        f"/{name}/" in file for name in _INSTALLED
    )


@lru_cache(maxsize=1024)
def _place(file: str) -> tuple[str, bool]:
    """Return the file as its package calls it, and whether it is the application's."""
    is_own = is_of_application(file)
    roots = [root for entry in sys.path if is_own and file.startswith(root := f"{entry}/")]
    if not roots:
        return "/".join(file.rsplit("/", 2)[-2:]), is_own
    return file.removeprefix(max(roots, key=len)), is_own


def _name(error: BaseException) -> str:
    kind = type(error)
    module = kind.__module__
    return kind.__qualname__ if module == "builtins" else f"{module}.{kind.__qualname__}"
