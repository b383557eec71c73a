"""The pattern of [scope]: what stands before the part of a path that says what a route is about."""

import re
from collections import Counter
from collections.abc import Iterable

SHARE_MIN = 0.6
"""Of the routes that a prefix must have in common: health and metrics often stand outside of it."""
_VERSION = re.compile(r"v[0-9]+")


def scope_pattern(paths: Iterable[str]) -> str:
    """Return the pattern; its group is the first segment in which the routes differ."""
    split = [_segments(path) for path in dict.fromkeys(paths)]
    prefix: list[str] = []
    while (segment := _shared(split, prefix)) is not None:
        prefix.append(segment)
    return "".join(f"/{_written(one)}" for one in prefix) + "/([^/]+)"


def _segments(path: str) -> list[str]:
    """Versions are one segment: `/api/v1` and `/api/v2` are the same prefix."""
    parts = [part for part in path.split("/") if part]
    return ["v0" if _VERSION.fullmatch(part) else part for part in parts]


def _shared(split: list[list[str]], prefix: list[str]) -> str | None:
    """The next segment of the prefix; None where the routes differ from here on."""
    depth = len(prefix)
    below = [one for one in split if one[:depth] == prefix and len(one) > depth + 1]
    if not below:
        return None
    segment, count = Counter(one[depth] for one in below).most_common(1)[0]
    after = {one[depth + 1] for one in below if one[depth] == segment}
    differ = len([one for one in after if not one.startswith("{")]) > 1 or after == {"v0"}
    is_prefix = not segment.startswith("{") and count >= SHARE_MIN * len(split)
    return segment if is_prefix and (differ or segment in {"api", "v0"}) else None


def _written(segment: str) -> str:
    """Not `re.escape`: it also escapes hyphens, which only Python needs."""
    return "v[0-9]+" if segment == "v0" else re.sub(r"([.+*?()\[\]{}|^$\\])", r"\\\1", segment)
