"""What may be said about an exception: its type and where it came from, never its text.

Driver messages carry values (`DETAIL: Key (email)=(...)`), also when parameters are hidden, and a
traceback prints the messages of the whole chain.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

CHAIN_MAX = 6
FRAMES_MAX = 12

_PACKAGE = Path(__file__).parents[1]
_ROOT = f"{_PACKAGE.parent}/"
_OWN = f"{_PACKAGE}/"


def describe(error: BaseException) -> dict[str, Any]:
    """Return loggable fields: `exception_type`, `frames`, `fingerprint`, and what the chain tells.

    `caused_by`: types of the chain behind it, outermost first; `sqlstate` and `constraint`: the first
    the chain has; `grouped`: types inside an exception group. `frames`: this project's, innermost
    last, or the innermost one when none is. `fingerprint`: same types at the same functions, same
    fingerprint, whatever the line numbers.
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
    """Return (file:function, line), of our own code if any of it is in the chain."""
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
        is_own = code.co_filename.startswith(_OWN)
        file = (
            code.co_filename.removeprefix(_ROOT)
            if is_own
            else "/".join(code.co_filename.rsplit("/", 2)[-2:])
        )
        yield f"{file}:{code.co_name}", traceback.tb_lineno, is_own
        traceback = traceback.tb_next


def _name(error: BaseException) -> str:
    kind = type(error)
    module = kind.__module__
    return kind.__qualname__ if module == "builtins" else f"{module}.{kind.__qualname__}"
