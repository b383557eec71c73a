"""What an application answers to, out of its own OpenAPI document, mounted applications included."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from fastapi import FastAPI
from starlette.routing import Mount

from firedrill_kit.config import traffic
from firedrill_kit.init.errors import InitError, line_of
from firedrill_kit.init.samples import Schema, resolved
from firedrill_kit.routes import flat

METHODS = ("get", "head", "post", "put", "patch", "delete", "options")
JSON, FORM = "application/json", "application/x-www-form-urlencoded"
HEADER_OF_TOKEN = "authorization"  # noqa: S105 - the name of a header


@dataclass(frozen=True)
class Operation:
    """One method of one route. path: as the route declares it. calls: the functions that answer it."""

    method: str
    path: str
    described: Schema = field(repr=False)
    document: Schema = field(repr=False)
    calls: tuple[Callable[..., Any], ...] = field(default=(), repr=False)

    @property
    def name(self) -> str:
        """As firedrill.toml calls it."""
        return f"{self.method} {self.path}"

    @cached_property
    def parameters(self) -> tuple[Schema, ...]:
        found = (resolved(one, self.document) for one in self.described.get("parameters", ()))
        return tuple(one for one in found if "name" in one and "in" in one)

    @property
    def required(self) -> tuple[Schema, ...]:
        """Parameters that every request must have, but the header of a token."""
        return tuple(one for one in self.parameters if one.get("required") and not _is_token(one))

    @property
    def is_plain(self) -> bool:
        """Whether it is asked for by its path alone."""
        return self.method == "GET" and not self.required and "{" not in self.path

    @property
    def needs_token(self) -> bool:
        required = self.described.get("security", self.document.get("security", ()))
        # An empty requirement among others: a caller may be signed in.
        by_scheme = bool(required) and all(required)
        return by_scheme or any(map(_is_token, self.parameters))

    @property
    def request_body(self) -> Schema:
        return resolved(self.described.get("requestBody", {}), self.document)

    def body(self, kind: str = JSON) -> Schema | None:
        """Return the schema of the body of a kind; None where it takes none."""
        content = self.request_body.get("content", {})
        found: Schema | None = content[kind].get("schema", {}) if kind in content else None
        return found

    @property
    def answer(self) -> Schema:
        """The schema of the good answer; empty where the document does not say."""
        for status, described in self.described.get("responses", {}).items():
            if status.startswith("2"):
                content = resolved(described, self.document).get("content", {})
                return resolved(content.get(JSON, {}).get("schema", {}), self.document)
        return {}


def _is_token(parameter: Schema) -> bool:
    return (parameter["in"], parameter["name"].lower()) == ("header", HEADER_OF_TOKEN)


def operations_of(app: FastAPI, prefix: str = "") -> Iterator[Operation]:
    """Yield all of them that firedrill.toml can name, in the order of the document. Raises InitError."""
    document = document_of(app)
    calls: dict[tuple[str, str], tuple[Callable[..., Any], ...]] = {}
    mounted: list[tuple[str, FastAPI]] = []
    for route in flat(app.routes):
        inner = getattr(route, "original_route", route)
        if isinstance(inner, Mount) and isinstance(inner.app, FastAPI):
            mounted.append((prefix + route.path, inner.app))
        for method in getattr(route, "methods", None) or ():
            at = (method, getattr(route, "path_format", ""))
            calls.setdefault(at, tuple(_calls(getattr(route, "dependant", None))))
    for path, item in document["paths"].items():
        for method in METHODS:
            name = f"{method.upper()} {prefix}{path}"
            if method in item and traffic.is_route(name):
                of_route = calls.get((method.upper(), path), ())
                yield Operation(method.upper(), prefix + path, item[method], document, of_route)
    for path, inner in mounted:
        yield from operations_of(inner, path)


def document_of(app: FastAPI) -> Mapping[str, Any]:
    """Make the document as its callers get it, its own additions included; what it keeps is put back."""
    kept, app.openapi_schema = app.openapi_schema, None
    try:
        document: Mapping[str, Any] = app.openapi()
        document["paths"].items()
    except Exception as error:  # noqa: BLE001 - an application may put any function in its place
        remedy = "mend what GET /openapi.json answers"
        raise InitError(
            f"the OpenAPI document cannot be made: {line_of(error)}; {remedy}"
        ) from None
    finally:
        app.openapi_schema = kept
    return document


def _calls(dependant: Any) -> Iterator[Callable[..., Any]]:
    if dependant is not None:
        if dependant.call is not None:
            yield dependant.call
        for one in dependant.dependencies:
            yield from _calls(one)
