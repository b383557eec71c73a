"""Values as TOML writes them, on one line."""

import json
import re
from collections.abc import Mapping

_BARE = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)


def value(given: object) -> str:
    """given: a tree of what JSON has, but None. Raises TypeError for anything else."""
    if isinstance(given, bool):
        return "true" if given else "false"
    if isinstance(given, float) and given.is_integer():
        return f"{given:.0f}"
    if isinstance(given, int | float):
        return repr(given)
    if isinstance(given, str):
        return quoted(given)
    if isinstance(given, Mapping):
        inner = ", ".join(f"{key(name)} = {value(one)}" for name, one in given.items())
        return f"{{{inner}}}"
    if isinstance(given, list | tuple):
        return f"[{', '.join(map(value, given))}]"
    raise TypeError(f"TOML has no {type(given).__name__}")


def key(name: str) -> str:
    return name if _BARE.fullmatch(name) else quoted(name)


def quoted(text: str) -> str:
    """JSON's escapes are TOML's, but JSON lets DEL stand, and halves of characters."""
    whole = text.encode(errors="replace").decode()
    return json.dumps(whole, ensure_ascii=False).replace("\x7f", "\\u007f")
