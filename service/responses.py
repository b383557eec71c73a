"""The only place where bad news becomes an answer: RFC 9457 problem details.

`CatchAll` is pure ASGI and stands inside the tracing middleware (and once more outside, for refusals
before it): an exception handler of the framework would re-raise after answering, and uvicorn and the
tracing would print whatever the message holds.
"""

import asyncio
import json
import random
import traceback
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from typing import Any, TypeVar

import structlog
from pydantic import BaseModel, ValidationError
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from firedrill_kit import metrics as core_metrics
from firedrill_kit.contract import field_of
from firedrill_kit.driver_errors import meaning_of
from firedrill_kit.resilience.admission import CallerBusyError, OverloadedError
from firedrill_kit.resilience.deadline import CallerDeadlineExceededError, DeadlineExceededError
from firedrill_kit.telemetry.labels import BoundedSet
from firedrill_kit.telemetry.record import RequestRecord
from service import database_failures, failures, metrics
from service.failures import Failure, Mode
from service.problems import PROBLEM_TYPE, problem_of

EXCEPTION_LABELS_MAX = 50
RETRY_AFTER_SECONDS = (1.0, 3.0)
"""Jittered between these: a fixed value would bring all callers back in the same second."""

LOGGED_MAX = 256
"""Characters of a list of fields in a log line."""

M = TypeVar("M", bound=BaseModel)

_EXCEPTIONS = BoundedSet(EXCEPTION_LABELS_MAX, other="_other")

_log = structlog.get_logger()

_OF_RESILIENCE: Mapping[type[Exception], Mode] = {
    DeadlineExceededError: failures.DEADLINE_EXCEEDED,
    CallerDeadlineExceededError: failures.CALLER_DEADLINE_EXCEEDED,
    OverloadedError: failures.OVERLOADED,
    CallerBusyError: failures.CONCURRENCY_LIMITED,
}


class CatchAll:
    """ASGI middleware: nothing leaves it but an answer.

    Cancellation passes: it is the deadline's or the server's way to end the work.
    on_failure: called with each failure that is answered.
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
        record: RequestRecord = scope["firedrill.record"]
        note(record, failure)
        self._on_failure(failure)
        if started:
            # The status is out; ending without the last part makes the server cut the connection.
            return
        body, headers = render(failure, record)
        status = failure.mode.status
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})


def failure_of(error: Exception) -> Failure:
    """Return what an exception means; unknown ones are `internal_error` and logged without text."""
    match error:
        case Failure():
            return error
        case (
            DeadlineExceededError()
            | CallerDeadlineExceededError()
            | OverloadedError()
            | CallerBusyError()
        ):
            return Failure(_OF_RESILIENCE[type(error)])
    meaning = meaning_of(error)
    return database_failures.failure_of(meaning) if meaning is not None else _unhandled(error)


def checked(model: type[M], stored: object, *, at: str = "") -> M:
    """Return what is stored as the contract promises it. at: the field that it is the value of.

    Raises Failure(STORED_DATA_INVALID) that names the fields as the contract calls them.
    """
    try:
        return model.model_validate(stored)
    except ValidationError as error:
        schema = _schema_of(model)
        details = error.errors(include_input=False, include_url=False)
        names = (field_of(item["loc"], schema, schema) for item in details)
        raise stored_data_invalid(".".join(filter(None, (at, name))) for name in names) from None


def stored_data_invalid(fields: Iterable[str]) -> Failure:
    return Failure(
        failures.STORED_DATA_INVALID, log={"fields": ",".join(sorted(set(fields)))[:LOGGED_MAX]}
    )


@cache
def _schema_of(model: type[BaseModel]) -> Mapping[str, Any]:
    return model.model_json_schema()


def _unhandled(error: BaseException) -> Failure:
    core_metrics.UNHANDLED_EXCEPTIONS.labels(_EXCEPTIONS.label_of(type(error).__name__)).inc()
    frames = [
        f"{frame.filename.rpartition('/')[2]}:{frame.lineno} {frame.name}"
        for frame in traceback.extract_tb(error.__traceback__)[-6:]
    ]
    _log.error("unhandled_exception", exception_type=type(error).__name__, frames=frames)
    return Failure(failures.INTERNAL_ERROR, cause=type(error).__name__)


def note(record: RequestRecord, failure: Failure) -> None:
    """Write into the record what the request ended with, and count it."""
    mode = failure.mode
    if mode is failures.DEADLINE_EXCEEDED:
        metrics.DEADLINE_EXCEEDED.labels(record.stage).inc()
        record.fields["stage"] = record.stage
    record.code, record.blame, record.cause = mode.code, mode.blame, failure.cause or ""
    record.shed = mode is failures.OVERLOADED
    record.fields.update(failure.log)
    core_metrics.FAILURES.labels(mode.code, record.route).inc()
    # A field that is wrong twenty times in one request is one field.
    wrong = dict.fromkeys((item.field, item.type) for item in failure.errors or ())
    record.validation_errors = [{"loc": field, "type": of_type} for field, of_type in wrong]
    for field, of_type in wrong:
        core_metrics.VALIDATION_ERRORS.labels(record.route, field, of_type).inc()


def render(failure: Failure, record: RequestRecord) -> tuple[bytes, list[tuple[bytes, bytes]]]:
    """Return body and headers of the answer."""
    mode = failure.mode
    headers = dict(failure.headers)
    retry_after = None
    if mode.retryable:
        seconds = failure.retry_after_seconds or random.uniform(*RETRY_AFTER_SECONDS)  # noqa: S311
        retry_after = max(1, round(seconds))
        headers.setdefault("Retry-After", str(retry_after))
    problem = problem_of(
        mode, request_id=record.request_id, trace_id=record.trace_id, retry_after=retry_after
    )
    if failure.errors is not None:
        problem["errors"] = [
            {"loc": item.sent_as or item.field, "type": item.type, "msg": item.msg}
            for item in failure.errors
        ]
    problem.update(failure.extensions)
    # ensure_ascii: a surrogate in a field name must not become a second failure.
    body = json.dumps(problem).encode()
    headers |= {
        "Content-Type": PROBLEM_TYPE,
        "Content-Length": str(len(body)),
        "Cache-Control": "no-store",
    }
    return body, [
        (key.lower().encode(), value.encode("latin-1")) for key, value in headers.items()
    ]
