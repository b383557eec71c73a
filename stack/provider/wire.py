"""What Google puts on the wire: bodies, status codes and headers of the token endpoint and of
Calendar v3.

Only shapes live here, no decision. A newcomer would get two things wrong: the token endpoint
speaks RFC 6749 errors (`{"error": "invalid_grant"}`) while the Calendar API speaks Google's own
error object, and the Calendar API uses 403 both for quota and for permission, distinguished by
`errors[].reason` alone.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

CALENDAR_SCOPES = (
    "https://www.googleapis.com/auth/calendar",
    "https://www.googleapis.com/auth/calendar.readonly",
    "https://www.googleapis.com/auth/calendar.events",
    "https://www.googleapis.com/auth/calendar.events.readonly",
    "https://www.googleapis.com/auth/calendar.events.owned",
    "https://www.googleapis.com/auth/calendar.events.owned.readonly",
)
"""Each of them alone is enough for `events.list`."""

REVOKED = "Token has been expired or revoked."

_NEVER_STORED = {
    "Cache-Control": "no-cache, no-store, max-age=0, must-revalidate",
    "Pragma": "no-cache",
    "Expires": "Mon, 01 Jan 1990 00:00:00 GMT",
}
_PRIVATE = {"Cache-Control": "private, max-age=0, must-revalidate, no-transform"}
_COMMON = {
    "Content-Type": "application/json; charset=UTF-8",
    "Vary": "Origin, X-Origin, Referer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "SAMEORIGIN",
    "X-XSS-Protection": "0",
}
_CHALLENGE = 'Bearer realm="https://accounts.google.com/"'


@dataclass(frozen=True)
class Answer:
    """One HTTP answer before it is sent, so that a fault can still spoil it."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


def json_body(content: object) -> bytes:
    """Google indents its JSON; a client that looks for `"error":"invalid_grant"` as text fails
    here too. Half a surrogate pair goes out as its escape, as Google's servers let it.
    """
    try:
        return orjson.dumps(content, option=orjson.OPT_INDENT_2)
    except TypeError:
        return json.dumps(content, indent=2).encode()


def token_answer(status: int, content: Mapping[str, Any], **headers: str) -> Answer:
    return Answer(status, json_body(content), {**_COMMON, **_NEVER_STORED, **headers})


def token_error(status: int, error: str, description: str | None = None, **headers: str) -> Answer:
    """An RFC 6749 §5.2 error. Google leaves the description out of its 5xx bodies."""
    content = {"error": error}
    if description is not None:
        content["error_description"] = description
    return token_answer(status, content, **headers)


def calendar_answer(content: Mapping[str, Any]) -> Answer:
    return Answer(200, json_body(content), {**_COMMON, **_PRIVATE})


def calendar_error(
    status: int,
    reason: str,
    message: str,
    *,
    detail: str | None = None,
    domain: str = "global",
    location: tuple[str, str] | None = None,
    grpc_status: str | None = None,
    extra: Mapping[str, Any] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Answer:
    """Google's error object.

    message: of the whole error; detail: of its single entry, when Google words them differently.
    location: (locationType, location), as ("parameter", "syncToken").
    """
    entry: dict[str, Any] = {"message": detail or message, "domain": domain, "reason": reason}
    if location is not None:
        entry["locationType"], entry["location"] = location
    error: dict[str, Any] = {"code": status, "message": message, "errors": [entry]}
    if grpc_status is not None:
        error["status"] = grpc_status
    error.update(extra or {})
    return Answer(status, json_body({"error": error}), {**_COMMON, **_PRIVATE, **(headers or {})})


def invalid_parameter(name: str, message: str, *, reason: str = "invalidParameter") -> Answer:
    return calendar_error(400, reason, message, location=("parameter", name))


def usage_limit(
    status: int, reason: str, message: str, *, limit: tuple[str, str] | None = None
) -> Answer:
    """403 and 429 of the quota system: same object, domain `usageLimits`.

    limit: as ("defaultPerMinutePerUser", "Queries per minute per user"); then it is named in the
    message and in `details`, as Google does now.
    """
    extra: dict[str, Any] = {}
    if limit is not None:
        message = (
            f"Quota exceeded for quota metric 'Queries' and limit '{limit[1]}' of service "
            f"'{_SERVICE}' for consumer 'project_number:123456789012'."
        )
        metadata = {
            "service": _SERVICE,
            "consumer": "projects/123456789012",
            "quota_metric": f"{_SERVICE}/default",
            "quota_limit": limit[0],
            "quota_limit_value": "600",
            "quota_location": "global",
        }
        extra["details"] = [_error_info("RATE_LIMIT_EXCEEDED", metadata)]
    return calendar_error(
        status,
        reason,
        message,
        domain="usageLimits",
        grpc_status="RESOURCE_EXHAUSTED" if status == 429 else "PERMISSION_DENIED",
        extra=extra,
    )


_SERVICE = "calendar-json.googleapis.com"


def _error_info(reason: str, metadata: Mapping[str, str]) -> Mapping[str, object]:
    return {
        "@type": "type.googleapis.com/google.rpc.ErrorInfo",
        "reason": reason,
        "domain": "googleapis.com",
        "metadata": metadata,
    }


LOGIN_REQUIRED = calendar_error(
    401,
    "required",
    "Request is missing required authentication credential. Expected OAuth 2 access token, login "
    "cookie or other valid authentication credential. See "
    "https://developers.google.com/identity/sign-in/web/devconsole-project.",
    detail="Login Required.",
    location=("header", "Authorization"),
    grpc_status="UNAUTHENTICATED",
    headers={"WWW-Authenticate": _CHALLENGE},
)
AUTH_ERROR = calendar_error(
    401,
    "authError",
    "Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie "
    "or other valid authentication credential. See "
    "https://developers.google.com/identity/sign-in/web/devconsole-project.",
    detail="Invalid Credentials",
    location=("header", "Authorization"),
    grpc_status="UNAUTHENTICATED",
    headers={"WWW-Authenticate": f'{_CHALLENGE}, error="invalid_token"'},
)
INSUFFICIENT_PERMISSIONS = calendar_error(
    403,
    "insufficientPermissions",
    "Request had insufficient authentication scopes.",
    detail="Insufficient Permission",
    grpc_status="PERMISSION_DENIED",
    extra={
        "details": [
            _error_info(
                "ACCESS_TOKEN_SCOPE_INSUFFICIENT",
                {"method": "calendar.v3.Events.List", "service": _SERVICE},
            )
        ]
    },
    headers={
        "WWW-Authenticate": f'{_CHALLENGE}, error="insufficient_scope", '
        f'scope="{" ".join(CALENDAR_SCOPES)}"'
    },
)
NOT_A_CALENDAR_USER = calendar_error(
    403, "notACalendarUser", "The user must be signed up for Google Calendar.", domain="calendar"
)
DOMAIN_POLICY = calendar_error(
    403, "domainPolicy", "The domain administrators have disabled Calendar apps."
)
ACCESS_NOT_CONFIGURED = calendar_error(
    403,
    "accessNotConfigured",
    "Google Calendar API has not been used in project 123456789012 before or it is disabled.",
    domain="usageLimits",
    grpc_status="PERMISSION_DENIED",
    extra={
        "details": [
            _error_info(
                "SERVICE_DISABLED", {"service": _SERVICE, "consumer": "projects/123456789012"}
            )
        ]
    },
)
NOT_FOUND = calendar_error(404, "notFound", "Not Found")
FULL_SYNC_REQUIRED = calendar_error(
    410,
    "fullSyncRequired",
    "Sync token is no longer valid, a full sync is required.",
    domain="calendar",
    location=("parameter", "syncToken"),
)
BACKEND_ERROR = calendar_error(500, "backendError", "Backend Error", grpc_status="INTERNAL")
UNAVAILABLE = calendar_error(
    503, "backendError", "The service is currently unavailable.", grpc_status="UNAVAILABLE"
)
HTML_PAGE = Answer(
    200,
    b"<!DOCTYPE html>\n<html lang=en>\n<meta charset=utf-8>\n<title>Sorry...</title>\n"
    b"<p>We're sorry... but your computer or network may be sending automated queries.\n</html>\n",
    {"Content-Type": "text/html; charset=UTF-8", "Cache-Control": "no-cache"},
)
