"""The only place where bad news becomes an answer: RFC 9457 problem details.

`CatchAll` is pure ASGI and stands inside the tracing middleware (and once more outside, for refusals
before it): an exception handler of the framework would re-raise after answering, and uvicorn and the
tracing would print whatever the message holds. `problems()` documents in OpenAPI what a route can answer.
"""

import asyncio
import http
import json
import random
import traceback
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError, ResponseValidationError
from pydantic import BaseModel, ValidationError
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service import driver_errors, failures, metrics
from service.failures import Blame, Failure, Mode
from service.resilience.admission import OverloadedError
from service.resilience.deadline import DeadlineExceededError
from service.telemetry.record import RequestRecord

PROBLEM_TYPE = "application/problem+json"
MAX_ERRORS = 20
MAX_TEXT = 64
MAX_VALIDATION_LABELS = 200
RETRY_AFTER_SECONDS = (1.0, 3.0)
"""Jittered between these: a fixed value would bring all callers back in the same second."""

M = TypeVar("M", bound=BaseModel)

_log = structlog.get_logger()

_BY_HTTP_STATUS: Mapping[int, Mode] = {
    400: failures.BODY_MALFORMED,
    401: failures.CREDENTIALS_MISSING,
    404: failures.NOT_FOUND,
    405: failures.METHOD_NOT_ALLOWED,
    413: failures.BODY_TOO_LARGE,
    415: failures.UNSUPPORTED_MEDIA_TYPE,
}
_DOCUMENTED_ALWAYS = (
    failures.OVERLOADED,
    failures.DEADLINE_EXCEEDED,
    failures.INTERNAL_ERROR,
)
_DOCUMENTED_WITH_DATABASE = (
    failures.DB_POOL_EXHAUSTED,
    failures.DB_UNAVAILABLE,
    failures.DB_CONNECTION_LOST,
    failures.DB_TIMEOUT,
    failures.DB_LOCK_TIMEOUT,
    failures.SCHEMA_MISMATCH,
    failures.STORED_DATA_INVALID,
)
_DOCUMENTED_WITH_WRITE = (
    failures.TX_CONFLICT,
    failures.COMMIT_FAILED,
    failures.CONSTRAINT_VIOLATION,
    failures.REFERENCE_MISSING,
)
_DOCUMENTED_WITH_CALLER = (
    failures.CREDENTIALS_MISSING,
    failures.TOKEN_MALFORMED,
    failures.TOKEN_CLAIMS_MISSING,
    failures.TOKEN_INVALID,
    failures.TOKEN_EXPIRED,
    failures.TOKEN_CLAIMS_CONFLICT,
    failures.TOKEN_SUBJECT_UNKNOWN,
)
_DOCUMENTED_WITH_BODY = (
    failures.VALIDATION_FAILED,
    failures.BODY_MALFORMED,
    failures.BODY_TOO_LARGE,
    failures.UNSUPPORTED_MEDIA_TYPE,
)


def problems(
    *modes: Mode, caller: bool = True, body: bool = False, write: bool = False
) -> dict[int | str, dict[str, Any]]:
    """Return FastAPI's `responses=`: these modes and those that every such route shares.

    caller: it needs one. body: it reads one. write: it changes something (CSRF, transactions).
    """
    every = [*modes, *_DOCUMENTED_ALWAYS, *_DOCUMENTED_WITH_DATABASE]
    every += _DOCUMENTED_WITH_CALLER if caller else ()
    every += _DOCUMENTED_WITH_BODY if body else ()
    every += _DOCUMENTED_WITH_WRITE if write else ()
    every += (failures.CSRF_FAILED,) if caller and write else ()
    by_status: dict[int, list[Mode]] = {}
    for mode in dict.fromkeys(every):
        if mode.status is not None:
            by_status.setdefault(mode.status, []).append(mode)
    return {
        status: {
            "description": " / ".join(f"`{mode.code}`" for mode in modes_of_status),
            "content": {
                PROBLEM_TYPE: {
                    "schema": {"$ref": "#/components/schemas/Problem"},
                    "examples": {mode.code: {"value": _example(mode)} for mode in modes_of_status},
                }
            },
        }
        for status, modes_of_status in sorted(by_status.items())
    }


def documented_codes(operation: Mapping[str, Any]) -> Iterable[str]:
    """Yield the failure codes that an OpenAPI operation declares."""
    for response in operation.get("responses", {}).values():
        yield from response.get("content", {}).get(PROBLEM_TYPE, {}).get("examples", {})


def install(app: FastAPI) -> None:
    """Route the framework's own exceptions to `CatchAll` instead of its plain-text answers."""
    app.add_exception_handler(RequestValidationError, _reraise_validation)
    app.add_exception_handler(HTTPException, _reraise_http)


async def _reraise_validation(_request: Request, error: Exception) -> Any:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - as registered
    details = error.errors()
    if any(item["type"] == "json_invalid" for item in details):
        raise Failure(failures.BODY_MALFORMED) from None
    errors = [
        {
            "loc": _clip(
                ".".join("[]" if isinstance(part, int) else str(part) for part in item["loc"])
            ),
            "type": _clip(item["type"]),
            "msg": _FIXED_TEXTS.get(item["type"], "does not fit the contract"),
        }
        for item in details[:MAX_ERRORS]
    ]
    raise Failure(failures.VALIDATION_FAILED, errors=errors) from None


async def _reraise_http(_request: Request, error: Exception) -> Any:
    assert isinstance(error, HTTPException)  # noqa: S101 - as registered
    mode = _BY_HTTP_STATUS.get(error.status_code, failures.INTERNAL_ERROR)
    headers = {
        key: value for key, value in (error.headers or {}).items() if key.lower() == "allow"
    }
    raise Failure(mode, headers=headers) from None


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


class CatchAll:
    """ASGI middleware: nothing leaves it but an answer.

    Cancellation passes: it is the deadline's or the server's way to end the work.
    on_failure: told of each failure that is answered.
    """

    def __init__(
        self, app: ASGIApp, *, on_failure: Callable[[Failure], None] = lambda _failure: None
    ) -> None:
        self._app = app
        self._on_failure = on_failure

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = False

        async def noting_send(message: Message) -> None:
            nonlocal started
            started = started or message["type"] == "http.response.start"
            await send(message)

        try:
            await self._app(scope, receive, noting_send)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            await self._answer(scope, send, _unhandled(asyncio.CancelledError()), started=started)
        except Exception as error:  # noqa: BLE001 - the one place that names what nothing else named
            await self._answer(scope, send, failure_of(error), started=started)

    async def _answer(self, scope: Scope, send: Send, failure: Failure, *, started: bool) -> None:
        record: RequestRecord = scope["state"]["record"]
        note(record, failure)
        self._on_failure(failure)
        if started:
            # The status is out; ending without the last part makes the server cut the connection.
            return
        body, headers = render(failure, record)
        status = failure.mode.status or 500
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})


def failure_of(error: Exception) -> Failure:
    """Return what an exception means; unknown ones are `internal_error` and logged without text."""
    match error:
        case Failure():
            return error
        case DeadlineExceededError():
            return Failure(failures.DEADLINE_EXCEEDED)
        case OverloadedError():
            return Failure(failures.OVERLOADED)
        case ResponseValidationError():
            fields = ",".join(
                sorted({_clip(".".join(map(str, item["loc"]))) for item in error.errors()})
            )
            return Failure(failures.STORED_DATA_INVALID, log={"fields": fields[:256]})
    meaning = driver_errors.meaning_of(error)
    return meaning.failure() if meaning is not None else _unhandled(error)


def checked(model: type[M], stored: object) -> M:
    """Return what is stored as the contract promises it.

    Raises Failure(STORED_DATA_INVALID) that names the fields, never their values.
    """
    try:
        return model.model_validate(stored)
    except ValidationError as error:
        details = error.errors(include_input=False, include_url=False)
        raise _stored_data_invalid(item["loc"] for item in details) from None


def _stored_data_invalid(places: Iterable[Iterable[object]]) -> Failure:
    fields = ",".join(sorted({_clip(".".join(map(str, place))) for place in places}))
    return Failure(failures.STORED_DATA_INVALID, log={"fields": fields[:256]})


def _unhandled(error: BaseException) -> Failure:
    metrics.UNHANDLED_EXCEPTIONS.labels(_exception_label(error)).inc()
    frames = [
        f"{frame.filename.rpartition('/')[2]}:{frame.lineno} {frame.name}"
        for frame in traceback.extract_tb(error.__traceback__)[-6:]
    ]
    _log.error("unhandled_exception", exception_type=type(error).__name__, frames=frames)
    return Failure(failures.INTERNAL_ERROR, cause=type(error).__name__)


_exception_names: set[str] = set()


def _exception_label(error: BaseException) -> str:
    name = type(error).__name__
    if name in _exception_names or len(_exception_names) < 50:
        _exception_names.add(name)
        return name
    return "_other"


def note(record: RequestRecord, failure: Failure) -> None:
    """Write into the record what the request ended with, and count it."""
    mode = failure.mode
    if mode is failures.DEADLINE_EXCEEDED:
        metrics.DEADLINE_EXCEEDED.labels(record.stage).inc()
        record.fields["stage"] = record.stage
    record.code, record.blame, record.cause = mode.code, mode.blame, failure.cause or ""
    record.shed = mode is failures.OVERLOADED
    record.fields.update(failure.log)
    record.validation_errors = failure.errors or []
    metrics.FAILURES.labels(mode.code, record.route).inc()
    for item in record.validation_errors:
        metrics.VALIDATION_ERRORS.labels(*_validation_labels(record.route, item)).inc()


_validation_sets: set[tuple[str, str, str]] = set()


def _validation_labels(route: str, item: Mapping[str, str]) -> tuple[str, str, str]:
    labels = (route, item["loc"], item["type"])
    if labels not in _validation_sets:
        if len(_validation_sets) >= MAX_VALIDATION_LABELS:
            return (route, "_other", "_other")
        _validation_sets.add(labels)
    return labels


def render(failure: Failure, record: RequestRecord) -> tuple[bytes, list[tuple[bytes, bytes]]]:
    """Return body and headers of the answer."""
    mode = failure.mode
    problem: dict[str, object] = {
        "type": f"/problems/{mode.code}",
        "title": mode.title,
        "status": mode.status,
        "code": mode.code,
        "detail": mode.detail,
        "instance": f"urn:uuid:{record.request_id}",
        "request_id": record.request_id,
        "trace_id": record.trace_id or None,
    }
    headers = dict(failure.headers)
    if mode.retryable:
        seconds = failure.retry_after_seconds or random.uniform(*RETRY_AFTER_SECONDS)  # noqa: S311
        retry_after = max(1, round(seconds))
        problem["retry_after"] = retry_after
        headers.setdefault("Retry-After", str(retry_after))
    if failure.errors is not None:
        problem["errors"] = failure.errors
    problem.update(failure.extensions)
    # ensure_ascii: a surrogate in a field name must not become a second failure.
    body = json.dumps({key: value for key, value in problem.items() if value is not None}).encode()
    headers |= {
        "Content-Type": PROBLEM_TYPE,
        "Content-Length": str(len(body)),
        "Cache-Control": "no-store",
    }
    return body, [
        (key.lower().encode(), value.encode("latin-1")) for key, value in headers.items()
    ]


def _clip(value: str) -> str:
    """Make a name that a caller may have chosen fit for a label: ASCII, at most 64 characters."""
    return value.encode("ascii", "backslashreplace").decode()[:MAX_TEXT]


def _example(mode: Mode) -> dict[str, object]:
    return {
        "type": f"/problems/{mode.code}",
        "title": mode.title,
        "status": mode.status,
        "code": mode.code,
        "detail": mode.detail,
    }


PROBLEM_SCHEMA: dict[str, Any] = {
    "title": "Problem",
    "description": "RFC 9457 problem details.",
    "type": "object",
    "required": ["type", "title", "status", "code", "detail", "instance", "request_id"],
    "properties": {
        "type": {"type": "string", "description": "Path of a page that explains the code."},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "code": {"type": "string", "enum": [mode.code for mode in failures.answered()]},
        "detail": {"type": "string", "description": "What the caller can do."},
        "instance": {"type": "string"},
        "request_id": {"type": "string"},
        "trace_id": {"type": "string"},
        "retry_after": {"type": "integer", "description": "Seconds, as in `Retry-After`."},
        "reauth_url": {"type": "string"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {name: {"type": "string"} for name in ("loc", "type", "msg")},
            },
        },
    },
}

_BLAME_TEXT = {
    Blame.CALLER: "The request, so the caller can mend it.",
    Blame.DEPENDENCY: "Something that the service depends on.",
    Blame.US: "The service itself.",
}


def explain(mode: Mode) -> str:
    """Return the page of `GET /problems/<code>`: what happened and what the caller can do."""
    again = "Yes, after the time that `Retry-After` says." if mode.retryable else "Not unchanged."
    status = http.HTTPStatus(mode.status or 500)
    return (
        f"# {mode.title}\n\n`{mode.code}` - HTTP {status.value} {status.phrase}\n\n"
        f"What happened: {mode.explanation}\n\nWhat you can do: {mode.detail}\n\n"
        f"Cause lies with: {_BLAME_TEXT[mode.blame]}\n\nMay it be sent again? {again}\n"
    )
