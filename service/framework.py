"""What FastAPI refuses by itself, said as the service says it.

A newcomer would answer here; only `CatchAll` answers failures, so these handlers raise them.
"""

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError, ResponseValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from firedrill_kit.contract import answer_schema, field_of, request_schema
from service import failures
from service.failures import Failure, FieldError, Mode
from service.provided import provided
from service.responses import stored_data_invalid
from service.routes import RouteSpec, RouteTable

ERRORS_MAX = 20
"""Fields that one answer names."""
TEXT_MAX = 64
"""Characters of a caller's own path to a field that are sent back."""

_BY_HTTP_STATUS: Mapping[int, Mode] = {
    400: failures.BODY_MALFORMED,
    401: failures.CREDENTIALS_MISSING,
    404: failures.NOT_FOUND,
    405: failures.METHOD_NOT_ALLOWED,
    413: failures.BODY_TOO_LARGE,
    415: failures.UNSUPPORTED_MEDIA_TYPE,
}


def install(app: FastAPI) -> None:
    """Route the framework's own exceptions to `CatchAll`. Expects a RouteTable to be provided."""
    app.add_exception_handler(RequestValidationError, _on_invalid_request)
    app.add_exception_handler(ResponseValidationError, _on_invalid_answer)
    app.add_exception_handler(HTTPException, _on_http_exception)


async def _on_invalid_request(request: Request, error: Exception) -> Any:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - as registered
    details = error.errors()
    if any(item["type"] == "json_invalid" for item in details):
        raise Failure(failures.BODY_MALFORMED) from None
    document = request.app.openapi()
    schema = request_schema(document, _route(request).template, request.method)
    # Names that a caller made up must not crowd out the field that is missing.
    details = sorted(details, key=lambda item: item["type"] == "extra_forbidden")
    errors = [
        FieldError(
            field=field_of(item["loc"], schema, document),
            type=item["type"],
            msg=_FIXED_TEXTS.get(item["type"], "does not fit the contract"),
            sent_as=_as_sent(item["loc"]),
        )
        for item in details[:ERRORS_MAX]
    ]
    raise Failure(failures.VALIDATION_FAILED, errors=errors) from None


async def _on_invalid_answer(request: Request, error: Exception) -> Any:
    assert isinstance(error, ResponseValidationError)  # noqa: S101 - as registered
    document = request.app.openapi()
    schema = answer_schema(document, _route(request).template, request.method)
    raise stored_data_invalid(
        field_of(item["loc"], schema, document) for item in error.errors()
    ) from None


async def _on_http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - as registered
    mode = _BY_HTTP_STATUS.get(error.status_code, failures.INTERNAL_ERROR)
    if mode is failures.NOT_FOUND and (place := _without_slash(request)):
        return Response(status_code=307, headers={"Location": place})
    headers = {}
    if mode is failures.METHOD_NOT_ALLOWED:
        headers["Allow"] = ", ".join(_route(request).methods)
    raise Failure(mode, headers=headers) from None


def _without_slash(request: Request) -> str:
    """Return where the path is without the slash at its end; empty when it is nowhere.

    Starlette's own redirect names the host that the caller's `Host` header did.
    """
    path = request.scope["path"].rstrip("/")
    routes = provided(request, RouteTable)
    if path == request.scope["path"] or not routes.resolve(path).policies:
        return ""
    query = request.scope["query_string"].decode("latin-1")
    return quote(path) + (f"?{query}" if query else "")


def _route(request: Request) -> RouteSpec:
    route: RouteSpec = request.scope["firedrill.route"]
    return route


def _as_sent(place: Sequence[str | int]) -> str:
    """Return the path to a field as the caller will know it: ASCII, at most TEXT_MAX characters."""
    path = ".".join("[]" if isinstance(part, int) else part for part in place)
    return path.encode("ascii", "backslashreplace").decode()[:TEXT_MAX]


# Pydantic's own messages may quote the value; these say what to do and nothing else.
_FIXED_TEXTS = {
    "missing": "is required",
    "extra_forbidden": "is not a field of this route",
    "string_too_short": "is too short",
    "string_too_long": "is too long",
    "string_type": "must be text",
    "string_pattern_mismatch": "has the wrong form",
    "int_type": "must be an integer",
    "int_parsing": "must be an integer",
    "float_type": "must be a number",
    "finite_number": "must be a finite number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "enum": "is not one of the allowed values",
    "literal_error": "is not one of the allowed values",
    "greater_than_equal": "is too small",
    "less_than_equal": "is too large",
    "list_type": "must be a list",
    "dict_type": "must be an object",
    "model_attributes_type": "must be an object",
    "too_long": "has too many entries",
    "value_error": "has a value that cannot be accepted",
}
