"""What every body has in common: strict JSON, text that can be stored and answered, no unknown fields.

A `str` of pydantic takes a lone surrogate and NUL, a `float` takes NaN; PostgreSQL and JSON take
neither, and the answer is then a 500 (measured). So requests use `Text` and `Model`.
"""

import json
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any

from annotated_types import GroupedMetadata
from fastapi import APIRouter, Request, Response
from fastapi.routing import APIRoute
from pydantic import AfterValidator, BaseModel, ConfigDict, StringConstraints

MAX_DEPTH = 32
MAX_VALUES = 4096
"""Three times what the largest settings hold. A megabyte of 90,000 unknown fields kept the event loop for
half a second, one of as many options for three (measured): each leaves errors to be described."""
MAX_DIGITS = 400
"""Longer integers are refused before Python converts them in quadratic time."""
TEXT_MAX = 65536
"""Characters of a text without a limit of its own."""


def _storable(value: str) -> str:
    if "\x00" in value or any("\ud800" <= char <= "\udfff" for char in value):
        message = "text must not contain NUL or lone surrogates"
        raise ValueError(message)
    return value


@dataclass(frozen=True, kw_only=True)
class Text(GroupedMetadata):
    """What a text in `Annotated[str, Text(...)]` must be: a field, a key of a map.

    Lengths in characters. strip: remove white space around it.
    """

    max_length: int = TEXT_MAX
    min_length: int = 0
    strip: bool = True

    def __iter__(self) -> Iterator[object]:
        yield from StringConstraints(
            min_length=self.min_length,
            max_length=self.max_length,
            strip_whitespace=self.strip,
        )
        yield AfterValidator(_storable)


class Model(BaseModel):
    """A request body: unknown fields are errors, so that a renamed field is a 422 and not a loss."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, str_max_length=TEXT_MAX)


def loads(raw: bytes) -> Any:
    """Parse strict JSON.

    Raises ValueError for anything else: NaN, depth over 32, huge integers, more than 4096 values.
    """
    structure = _outside_strings(raw)
    if structure.count(b",") >= MAX_VALUES or _depth(structure) > MAX_DEPTH:
        message = "too many values, or nested too deeply"
        raise ValueError(message)
    return json.loads(raw.decode("utf-8"), parse_constant=_refuse_constant, parse_int=_parse_int)


def depth_of(raw: bytes) -> int:
    """Return the nesting depth of a JSON text without parsing it; brackets in strings do not count."""
    return _depth(_outside_strings(raw))


def _outside_strings(raw: bytes) -> bytes:
    return b"".join(raw.replace(b"\\\\", b"").replace(b'\\"', b"").split(b'"')[::2])


def _depth(structure: bytes) -> int:
    depth = deepest = 0
    for char in structure:
        if char in b"[{":
            depth += 1
            deepest = max(deepest, depth)
        elif char in b"]}":
            depth -= 1
    return deepest


def _refuse_constant(name: str) -> Any:
    message = f"{name} is not JSON"
    raise ValueError(message)


def _parse_int(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        message = "integer too long"
        raise ValueError(message)
    return int(digits)


class _StrictRequest(Request):
    async def json(self) -> Any:
        if not hasattr(self, "_json"):
            self._json = loads(await self.body())
        return self._json


class StrictRoute(APIRoute):
    """A route whose body is parsed by `loads`; FastAPI answers its ValueError as an unreadable body."""

    def get_route_handler(self) -> Callable[[Request], Awaitable[Response]]:  # type: ignore[override]
        handler = super().get_route_handler()

        async def strict(request: Request) -> Response:
            return await handler(_StrictRequest(request.scope, request.receive))

        return strict


def router(prefix: str, tag: str) -> APIRouter:
    """Return a domain's router. prefix: the full path; routers are included without one."""
    return APIRouter(prefix=prefix, tags=[tag], route_class=StrictRoute)
