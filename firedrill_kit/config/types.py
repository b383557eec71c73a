"""What values may be: the patterns, ranges and shapes that the sections share.

The pattern of a text is what the JSON schema shows to editors; REMEDIES says it in words.
"""

import re
import warnings
from pathlib import Path
from typing import Annotated, TypeVar
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    Strict,
    ValidationInfo,
)

T = TypeVar("T")

NAME = r"^[a-z][a-z0-9_-]*$"
LABEL = r"^[A-Za-z0-9][A-Za-z0-9._/-]*$"
ALERT = r"^[A-Z][A-Za-z0-9]*$"
TABLE = r"^[a-z_][a-z0-9_]*(\.[a-z_][a-z0-9_]*)?$"
ROUTE = r"^(GET|HEAD|POST|PUT|PATCH|DELETE|OPTIONS) /[^\s?#]*$"
TEMPLATE = r'^(/[^\s?#"\\\[\]^]*|\*)$'
PATH = r"^/[!-~]*$"
ADDRESS = r"^https?://[^\s/?#@]+(/[^\s?#@]*)?$"
ANSWER_KEY = r"^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*$"
PART = r"^service(-[1-9][0-9]*)?$"
VERSION = r"^[a-z][a-z0-9_-]{0,15}/[0-9]{1,3}\.[0-9]{1,3}$"

REMEDIES = {
    NAME: "write lower-case letters, digits, _ or -, a letter first",
    LABEL: "write letters, digits, and . _ / - between them",
    ALERT: 'write the name of an alert, as in "DbPoolExhausted"',
    TABLE: 'write the name of a table in lower case, as in "items" or "shop.items"',
    ROUTE: 'write method and path, as in "GET /items/{id}"',
    TEMPLATE: 'write the path of a route, as in "/items/{id}", or "/items/*"',
    PATH: 'write a path that begins with /, as in "/items/1"',
    ADDRESS: 'write "http://HOST:PORT", without user and password',
    ANSWER_KEY: 'write the key of the answer, as in "access_token" or "data.token"',
    PART: 'write "service" for all replicas, or "service-1" for the first',
    VERSION: 'write name and version of a client, as in "web/1.8"',
}


class Section(BaseModel):
    """A table of the file. Its docstring and those of its fields are the reference of the file."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        # `true` is no number, and "8000" no port.
        strict=True,
        allow_inf_nan=False,
        hide_input_in_errors=True,
        use_attribute_docstrings=True,
    )


def _address(text: str) -> str:
    try:
        host = urlsplit(text).port != 0 and urlsplit(text).hostname
    except ValueError:
        host = None
    if not host:
        raise ValueError(f"it is no address; {REMEDIES[ADDRESS]}")
    return text.rstrip("/")


def _scope(text: str) -> str:
    """RE2 reads it: it knows no looking around and no reference back."""
    try:
        # What Python warns of, RE2 reads in another way.
        with warnings.catch_warnings(action="error"):
            groups = re.compile(text).groups
    except (re.error, OverflowError, RecursionError, Warning):
        groups = 0
    if groups != 1 or re.search(r"\(\?<?[=!]|\(\?P=|\\[1-9]", text):
        raise ValueError(
            'it is no regular expression with one group; write one as in "/api/v1/([^/]+)"'
        )
    return text


def _below_the_file(value: object, info: ValidationInfo) -> object:
    context: dict[str, Path] = info.context or {}
    return context.get("directory", Path()) / value if isinstance(value, str | Path) else value


Name = Annotated[str, Field(pattern=NAME)]
Label = Annotated[str, Field(pattern=LABEL)]
Alert = Annotated[str, Field(pattern=ALERT)]
Table = Annotated[str, Field(pattern=TABLE)]
RouteName = Annotated[str, Field(pattern=ROUTE)]
Template = Annotated[str, Field(pattern=TEMPLATE)]
UrlPath = Annotated[str, Field(pattern=PATH)]
Address = Annotated[str, Field(pattern=ADDRESS), AfterValidator(_address)]
AnswerKey = Annotated[str, Field(pattern=ANSWER_KEY)]
Part = Annotated[str, Field(pattern=PART)]
Version = Annotated[str, Field(pattern=VERSION)]
ScopePattern = Annotated[str, AfterValidator(_scope)]
Line = Annotated[str, Field(min_length=1)]

Port = Annotated[int, Field(ge=1, le=65535)]
Seconds = Annotated[float, Field(gt=0)]
Rate = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(gt=0, lt=1)]

Several = Annotated[tuple[T, ...], Strict(strict=False)]
"""A list of the file, which Python keeps as a tuple: the one place where a type is converted."""

Directory = Annotated[Path, BeforeValidator(_below_the_file)]
"""Relative to the file that names it."""
