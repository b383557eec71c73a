"""Requests that a field made a 422, counted before the application's own handler answers them."""

from collections.abc import Awaitable, Callable, Mapping
from inspect import iscoroutinefunction
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from starlette.requests import Request

from firedrill_kit import metrics
from firedrill_kit.contract import field_of, request_schema
from firedrill_kit.failures import remember
from firedrill_kit.telemetry.guard import guard
from firedrill_kit.telemetry.record import RequestRecord

Handler = Callable[[Any, Any], Any]

_GUARD = guard("http")


class SeenErrors:
    """Wraps an application's exception handlers: what they are given is seen first."""

    def __init__(self, app: FastAPI) -> None:
        self._app = app
        self._document: Mapping[str, Any] | None = None

    def wrapped(self, handler: Handler) -> Handler:
        """Return a handler of the same kind (plain ones run in a thread) that answers the same."""

        async def seeing_async(request: Any, error: Exception) -> Any:
            self._see(request, error)
            return await handler(request, error)

        def seeing(request: Any, error: Exception) -> Any:
            self._see(request, error)
            return handler(request, error)

        return seeing_async if _is_async(handler) else seeing

    def _see(self, request: Any, error: Exception) -> None:
        with _GUARD:
            record = (
                request.scope.get("firedrill.record") if isinstance(request, Request) else None
            )
            if record is None:
                return
            if isinstance(error, RequestValidationError):
                self._count(record, error)
            else:
                remember(record, error)

    def _count(self, record: RequestRecord, error: RequestValidationError) -> None:
        document = self._openapi()
        schema = request_schema(document, record.route, record.method)
        # A field that is wrong twenty times in one request is one field.
        wrong = dict.fromkeys(
            (field_of(item["loc"], schema, document), item["type"]) for item in error.errors()
        )
        record.code, record.blame = "validation_failed", "caller"
        record.validation_errors = [{"loc": field, "type": kind} for field, kind in wrong]
        metrics.FAILURES.labels(record.code, record.route).inc()
        for field, kind in wrong:
            metrics.VALIDATION_ERRORS.labels(record.route, field, kind).inc()

    def _openapi(self) -> Mapping[str, Any]:
        """The document of the routes, made once and kept here: the application's own is not touched."""
        if self._document is None:
            self._document = get_openapi(title="", version="0", routes=self._app.routes)
        return self._document


def _is_async(handler: Handler) -> bool:
    call: Callable[..., Awaitable[Any]] = getattr(handler, "__call__", handler)  # noqa: B004 - of an object
    while hasattr(handler, "func"):  # functools.partial
        handler = handler.func
    return iscoroutinefunction(handler) or iscoroutinefunction(call)
