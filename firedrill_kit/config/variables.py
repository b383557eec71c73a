"""`$NAME` in a file: a variable of the environment that stands where a secret would.

The file holds the name only. The value is read when it is used, handed to its user, and part of
no message. `{word}` is filled in the same way, by Firedrill itself: `{token}`, `{n}`, `{port}`.
"""

import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

from pydantic import AfterValidator, PlainValidator, WithJsonSchema

_WHOLE = re.compile(r"\$([A-Za-z_]\w*)", re.ASCII)
_PLACES = re.compile(r"\$(?P<dollar>\$)|\$(?P<variable>[A-Za-z_]\w*)|\{(?P<word>\w+)\}", re.ASCII)
_SENSITIVE = re.compile(
    r"passw|pwd|secret|token$|credential|api.?key|private.?key|authori[sz]ation|cookie|dsn$",
    re.IGNORECASE,
)
_CREDENTIALS = re.compile(r"://[^\s/@]*:(?!\$)[^\s/@]+@")
_HEADER = re.compile(r"(?:[A-Za-z][\w-]*[ =])?(?:\{token\}|\$[A-Za-z_]\w*)", re.ASCII)
_REMEDY = 'write "$NAME" and set the variable NAME'


class MissingVariableError(Exception):
    """A variable that the file names is not set; the text names it."""


@dataclass(frozen=True, slots=True)
class Variable:
    """A variable of the environment, by name. Its value is never kept here."""

    name: str

    def read(self, environment: Mapping[str, str] = os.environ) -> str:
        """Raises MissingVariableError, also when it is empty."""
        value = environment.get(self.name, "")
        if not value:
            raise MissingVariableError(f"{self.name} is not set; firedrill.toml asks for it")
        return value


def filled(value: object, environment: Mapping[str, str] = os.environ, **words: object) -> object:
    """Return a tree of tables, lists and text with every `$NAME` and `{word}` replaced.

    A `{word}` that is not given stays as it is, and `$$` is one dollar. Raises MissingVariableError.
    """
    if isinstance(value, Mapping):
        return {name: filled(inner, environment, **words) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [filled(inner, environment, **words) for inner in value]
    return filled_text(value, environment, **words) if isinstance(value, str) else value


def filled_text(text: str, environment: Mapping[str, str] = os.environ, **words: object) -> str:
    """Return the text, filled in one pass: what a variable holds is not looked at again.

    Raises MissingVariableError.
    """

    def put(place: re.Match[str]) -> str:
        if place["dollar"]:
            return "$"
        if place["variable"]:
            return Variable(place["variable"]).read(environment)
        return str(words.get(place["word"], place[0]))

    return _PLACES.sub(put, text)


def is_sensitive(name: str) -> bool:
    """Whether what is called so is taken for a secret."""
    return bool(_SENSITIVE.search(name))


def _variable(value: object) -> Variable:
    found = _WHOLE.fullmatch(value) if isinstance(value, str) else None
    if not found:
        raise ValueError(f"a secret has no place in this file; {_REMEDY}")
    return Variable(found[1])


def _without_secrets(value: object) -> object:
    """Raise ValueError for what JSON cannot carry, and for a secret that is written out."""
    _look_at(value, (), is_secret=False)
    return value


def _look_at(value: object, within: tuple[str, ...], *, is_secret: bool) -> None:
    name = ".".join(within) or "the value"
    if isinstance(value, dict):
        for key, inner in value.items():
            secret = is_secret or is_sensitive(key)
            _look_at(inner, (*within, ascii(key)[1:-1]), is_secret=secret)
    elif isinstance(value, list):
        for inner in value:
            _look_at(inner, within, is_secret=is_secret)
    elif isinstance(value, str):
        if (is_secret and not _WHOLE.fullmatch(value)) or _CREDENTIALS.search(value):
            raise ValueError(f"{name} is a secret and has no place in this file; {_REMEDY}")
    elif isinstance(value, bool):
        pass
    elif isinstance(value, int | float):
        if is_secret:
            raise ValueError(f"{name} is a secret and has no place in this file; {_REMEDY}")
        if not math.isfinite(value):
            raise ValueError(f"{name} is no number that JSON can carry; write a finite one")
    else:
        raise ValueError(f"{name} is a date or time, which JSON cannot carry; write it in quotes")  # noqa: TRY004 - reported as every wrong value


def _header(headers: dict[str, str]) -> dict[str, str]:
    """Raise ValueError for a header that would carry a secret written out."""
    for name, value in headers.items():
        if is_sensitive(name) and not _HEADER.fullmatch(value):
            raise ValueError(
                f"{ascii(name)[1:-1]} carries a secret, which has no place in this file;"
                ' write "Bearer {token}" or "$NAME" and set the variable NAME'
            )
        if not value.isprintable() or not name.isprintable() or not name:
            raise ValueError("a header is one line of text; write it without control characters")
    return headers


Secret = Annotated[
    Variable,
    PlainValidator(_variable),
    WithJsonSchema({"type": "string", "pattern": f"^{_WHOLE.pattern}$"}),
]
"""A field that takes a secret, and so takes nothing but `$NAME`."""

Json = Annotated[object, AfterValidator(_without_secrets)]
"""What is sent as JSON. `$NAME` in it is filled in; what is called like a secret must be one."""

Text = Annotated[str, AfterValidator(_without_secrets)]
"""Text in which `$NAME` and `{word}` are filled in."""

Fields = Annotated[dict[str, str], AfterValidator(_without_secrets)]
"""Names and texts, as a form or the environment of a process has them."""

Headers = Annotated[dict[str, str], AfterValidator(_header)]
