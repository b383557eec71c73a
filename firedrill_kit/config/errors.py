"""What is wrong with a file, one line each: the file, the key, what is wrong; what to write."""

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from firedrill_kit.config.nearest import nearest
from firedrill_kit.config.schema import at_key, shipped, table
from firedrill_kit.config.types import REMEDIES

_BARE = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)
_DESCRIBED_IN = "see docs/firedrill-toml.md"

# By pydantic's name of the error, with what its context holds.
_TEXTS = {
    "string_type": "it must be text; write it in quotes",
    "path_type": "it must be text; write it in quotes",
    "string_too_short": "it is empty; write something, or leave the key out",
    "too_short": "it is empty; name at least one",
    "int_type": "it must be a whole number; write it without quotes and point",
    "float_type": "it must be a number; write it without quotes",
    "bool_type": "it must be true or false; write one of them without quotes",
    "tuple_type": "it must be a list; write it in brackets, as in [1, 2]",
    "dict_type": "it must be a table; write {{KEY = VALUE}} or a section of its own",
    "mapping_type": "it must be a table; write {{KEY = VALUE}} or a section of its own",
    "model_type": "it must be a table; write {{KEY = VALUE}} or a section of its own",
    "finite_number": "it must be finite; write a number",
    "greater_than": "it must be above {gt:g}; write a larger number",
    "greater_than_equal": "it must be at least {ge:g}; write a larger number",
    "less_than": "it must be below {lt:g}; write a smaller number",
    "less_than_equal": "it must be at most {le:g}; write a smaller number",
    "literal_error": "there is no such choice; write {expected}",
}
"""Every other kind is reported in pydantic's words; a test asks that none is left."""


class ConfigError(Exception):
    """A file that cannot be used. lines: one for each thing that is wrong with it."""

    def __init__(self, lines: Iterable[str]) -> None:
        self.lines = tuple(lines)
        super().__init__("\n".join(self.lines))


def line(file: Path, key: Iterable[str | int], text: str) -> str:
    """Return one line, whatever the names of the file contain."""
    return one_line(": ".join(filter(None, (str(file), key_of(key), text))))


def one_line(text: str) -> str:
    return text if text.isprintable() else ascii(text)[1:-1]


def key_of(key: Iterable[str | int]) -> str:
    """`load.mix."GET /items".rate`, `drill[2].name`: as a person would look for it, counted from 1."""
    text = ""
    for part in key:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += ("." if text else "") + (part if _BARE.fullmatch(part) else json.dumps(part))
    return text


def lines_of(error: ValidationError, file: Path) -> list[str]:
    return [_line_of(one, file) for one in error.errors(include_url=False, include_input=False)]


def _line_of(error: ErrorDetails, file: Path) -> str:
    # What a validator of a table's names finds is reported with this at the end.
    is_name = error["loc"][-1:] == ("[key]",)
    where = error["loc"][:-1] if is_name else error["loc"]
    key = [part + 1 if isinstance(part, int) else part for part in where]
    return line(file, key, _text_of(error, where))


def _text_of(error: ErrorDetails, where: tuple[str | int, ...]) -> str:
    kind, context = error["type"], error.get("ctx", {})
    if kind == "extra_forbidden":
        return f"there is no such key;{nearest(str(where[-1]), _keys_at(where[:-1]))}"
    if kind == "missing":
        return f"it is missing; add it: {_described(where)}"
    if kind == "string_pattern_mismatch":
        return f"it is not written as it must be; {REMEDIES[context['pattern']]}"
    if kind == "value_error":
        return str(context["error"])
    if kind in _TEXTS:
        return _TEXTS[kind].format(**context)
    return f"{one_line(error['msg'])}; {_DESCRIBED_IN}"


def _keys_at(where: tuple[str | int, ...]) -> list[str]:
    return list(_schema_at(where).get("properties", {}))


def _described(where: tuple[str | int, ...]) -> str:
    text: str = _schema_at(where[:-1])["properties"][where[-1]].get("description", _DESCRIBED_IN)
    return text.partition("\n\n")[0].replace("\n", " ")


def _schema_at(where: tuple[str | int, ...]) -> Mapping[str, Any]:
    """The part of the JSON schema that describes what stands at a key; empty where nothing does."""
    document = shipped()
    node: Mapping[str, Any] = document
    for part in where:
        inner = node.get("items", {}) if isinstance(part, int) else at_key(node, part)
        node = table(inner, document["$defs"])
    return node
