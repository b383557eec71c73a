"""What a problem looks like (RFC 9457), and which ones the OpenAPI document says a route answers.

The answers of `responses.py` and the examples of the document are built by the same function, so that
neither can have a member that the other lacks.
"""

import http
from collections.abc import Iterable, Mapping
from typing import Any

from service import failures
from service.failures import Blame, Mode

PROBLEM_TYPE = "application/problem+json"
_EXAMPLE_ID = "01936f2e-8a4c-7d3b-9f21-5c8e7a6b4d10"
_EXAMPLE_TRACE_ID = "0af7651916cd43dd8448eb211c80319c"

_DOCUMENTED_ALWAYS = (
    failures.CONCURRENCY_LIMITED,
    failures.CALLER_DEADLINE_EXCEEDED,
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
    failures.SLOW_BODY,
    failures.VALIDATION_FAILED,
    failures.BODY_MALFORMED,
    failures.BODY_TOO_LARGE,
    failures.UNSUPPORTED_MEDIA_TYPE,
)


def problem_of(
    mode: Mode, *, request_id: str, trace_id: str = "", retry_after: int | None = None
) -> dict[str, object]:
    """Return the members that every answer with this mode has. retry_after: seconds."""
    members = {
        "type": f"/problems/{mode.code}",
        "title": mode.title,
        "status": mode.status,
        "code": mode.code,
        "detail": mode.detail,
        "instance": f"urn:uuid:{request_id}",
        "request_id": request_id,
        "trace_id": trace_id or None,
        "retry_after": retry_after,
    }
    return {name: value for name, value in members.items() if value is not None}


def problems(
    *modes: Mode,
    caller: bool = True,
    database: bool = True,
    body: bool = False,
    write: bool = False,
) -> dict[int | str, dict[str, Any]]:
    """Return FastAPI's `responses=`: these modes and those that every such route shares.

    caller: it needs one. database: it asks it. body: it reads one. write: it changes something
    (CSRF, transactions).
    """
    every = [*modes, *_DOCUMENTED_ALWAYS]
    every += _DOCUMENTED_WITH_DATABASE if database else ()
    every += _DOCUMENTED_WITH_CALLER if caller else ()
    every += _DOCUMENTED_WITH_BODY if body else ()
    every += _DOCUMENTED_WITH_WRITE if write else ()
    every += (failures.CSRF_FAILED,) if caller and write else ()
    by_status: dict[int, list[Mode]] = {}
    for mode in dict.fromkeys(every):
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


def _example(mode: Mode) -> dict[str, object]:
    return problem_of(
        mode,
        request_id=_EXAMPLE_ID,
        trace_id=_EXAMPLE_TRACE_ID,
        retry_after=2 if mode.retryable else None,
    )


PROBLEM_SCHEMA: dict[str, Any] = {
    "title": "Problem",
    "description": "RFC 9457 problem details.",
    "type": "object",
    "required": ["type", "title", "status", "code", "detail", "instance", "request_id"],
    "properties": {
        "type": {"type": "string", "description": "Path of a page that explains the code."},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "code": {"type": "string", "enum": list(failures.MODES)},
        "detail": {"type": "string", "description": "What the caller can do."},
        "instance": {"type": "string", "format": "uri", "description": "The request's id."},
        "request_id": {"type": "string", "format": "uuid", "description": "As in `X-Request-Id`."},
        "trace_id": {"type": "string", "pattern": "^[0-9a-f]{32}$"},
        "retry_after": {"type": "integer", "description": "Seconds, as in `Retry-After`."},
        "reauth_url": {"type": "string"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["loc", "type", "msg"],
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
    status = http.HTTPStatus(mode.status)
    return (
        f"# {mode.title}\n\n`{mode.code}` - HTTP {status.value} {status.phrase}\n\n"
        f"What happened: {mode.explanation}\n\nWhat you can do: {mode.detail}\n\n"
        f"Cause lies with: {_BLAME_TEXT[mode.blame]}\n\nMay it be sent again? {again}\n"
    )
