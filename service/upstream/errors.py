"""The table: what a call to the calendar provider can end in → what it means for the request.

httpx's exceptions by class, Google's refusals by reason: 403 is both "too many calls" and "no permission",
and a limit comes as 403 or 429 alike. Whose limit it is says the limit's name, never the status: taken for
the project's, one user's limit would stop everybody. What the table does not know is never retried. The
provider's own texts never leave this module.
"""

import enum
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import httpx
from pydantic_core import from_json

from firedrill_kit.resilience.breaker import Outcome
from service import failures
from service.failures import Failure, Mode


class Endpoint(enum.Enum):
    TOKEN = enum.auto()
    CALENDAR = enum.auto()

    @property
    def broken(self) -> Mode:
        """The mode of an endpoint that fails: only the token endpoint's is ours to answer as a 503."""
        return failures.PROVIDER_UNAVAILABLE if self is Endpoint.TOKEN else failures.PROVIDER_ERROR


@dataclass(frozen=True, slots=True, kw_only=True)
class Meaning:
    """What one failed attempt means.

    mode: None stands for the endpoint's `broken`.
    cause: closed vocabulary; also the `error.type` of span and metric where there is no status.
    is_retryable: the same call may be made again at once.
    is_unanswered: it was sent, and whether the provider acted on it is unknown.
    outcome: what the circuit breaker learns.
    limit_scope: `user` or `project` when it is a limit. bad_because: `why` of a broken contract.
    """

    mode: Mode | None = None
    cause: str
    is_retryable: bool = False
    is_unanswered: bool = False
    outcome: Outcome = Outcome.FAIL
    limit_scope: str = ""
    bad_because: str = ""


class CallFailed(Failure):
    """A call gave no result.

    is_unanswered: some attempt was sent and got no readable answer, so the provider may have acted on
    it: rotated a refresh token, say, without our knowing the new one.
    """

    is_unanswered = False


class AccessTokenRefused(CallFailed):
    """The calendar does not accept the access token (401); a refresh may mend it."""


class SyncTokenExpired(CallFailed):
    """The calendar wants a full synchronisation (410)."""


class AnswerTooLarge(CallFailed):
    """More bytes than are read; a smaller page may fit."""


_TIMEOUT = Meaning(
    mode=failures.PROVIDER_TIMEOUT, cause="timeout", is_retryable=True, is_unanswered=True
)
_NEVER_SENT = Meaning(cause="connect", is_retryable=True)
_DISCONNECT = Meaning(cause="disconnect", is_retryable=True, is_unanswered=True)
_OURS = Meaning(mode=failures.PROVIDER_MISCONFIGURED, cause="local", outcome=Outcome.NEUTRAL)

# Every concrete request error of httpx; a test compares the table with the library.
BY_TRANSPORT_ERROR: Mapping[type[Exception], Meaning] = {
    TimeoutError: _TIMEOUT,  # our own limit of an attempt: httpx has no total
    httpx.ReadTimeout: _TIMEOUT,
    httpx.WriteTimeout: _TIMEOUT,
    httpx.ConnectTimeout: replace(_TIMEOUT, is_unanswered=False),
    # None of our connections was free: says nothing about the provider.
    httpx.PoolTimeout: replace(_TIMEOUT, is_unanswered=False, outcome=Outcome.NEUTRAL),
    httpx.ConnectError: _NEVER_SENT,  # refused, unreachable, no such name
    httpx.ProxyError: _NEVER_SENT,
    httpx.ReadError: _DISCONNECT,
    httpx.WriteError: _DISCONNECT,
    httpx.CloseError: _DISCONNECT,
    httpx.RemoteProtocolError: _DISCONNECT,
    httpx.LocalProtocolError: _OURS,
    httpx.UnsupportedProtocol: _OURS,  # PROVIDER_URL is not http
    httpx.InvalidURL: _OURS,  # PROVIDER_URL is not a URL
    # Neither can be: redirects are not followed, bodies not unpacked.
    httpx.TooManyRedirects: _OURS,
    httpx.DecodingError: _OURS,
}

_REAUTH = Meaning(
    mode=failures.CALENDAR_REAUTH_REQUIRED, cause="invalid_grant", outcome=Outcome.NEUTRAL
)
_MISCONFIGURED = Meaning(
    mode=failures.PROVIDER_MISCONFIGURED, cause="invalid_client", outcome=Outcome.NEUTRAL
)

_SERVER_ERROR = Meaning(cause="status", is_retryable=True)

_USER_LIMIT = Meaning(
    mode=failures.PROVIDER_RATE_LIMITED,
    cause="user_limit",
    is_retryable=True,
    outcome=Outcome.NEUTRAL,
    limit_scope="user",
)
_PROJECT_LIMIT = Meaning(
    mode=failures.PROVIDER_QUOTA_EXHAUSTED,
    cause="project_limit",
    is_retryable=True,
    outcome=Outcome.NEUTRAL,
    limit_scope="project",
)

# RFC 6749 §5.2, OpenID Connect Core §3.1.2.6 and Google's additions:
# https://developers.google.com/identity/protocols/oauth2/web-server#authorization-errors
BY_TOKEN_ERROR: Mapping[str, Meaning] = {
    "invalid_grant": _REAUTH,
    # The user, or who administers their account, has to say yes again.
    **{
        error: replace(_REAUTH, cause=error)
        for error in (
            "access_denied",
            "account_selection_required",
            "admin_policy_enforced",
            "consent_required",
            "interaction_required",
            "invalid_rapt",
            "login_required",
            "org_internal",
            "rapt_required",
        )
    },
    # Our client, as it is registered at Google.
    "invalid_client": _MISCONFIGURED,
    "unauthorized_client": _MISCONFIGURED,
    **{
        error: replace(_MISCONFIGURED, cause=error)
        for error in (
            "access_not_configured",
            "deleted_client",
            "disabled_client",
            "invalid_request",
            "invalid_scope",
            "redirect_uri_mismatch",
            "restricted_client",
            "unsupported_grant_type",
        )
    },
    "rate_limit_exceeded": _USER_LIMIT,
    "slow_down": _USER_LIMIT,
    # Google's own libraries try these again, whatever the status is.
    "internal_failure": _SERVER_ERROR,
    "server_error": _SERVER_ERROR,
    "temporarily_unavailable": _SERVER_ERROR,
}

_NO_PERMISSION = Meaning(
    mode=failures.CALENDAR_SCOPE_MISSING, cause="scope", outcome=Outcome.NEUTRAL
)
_FORBIDDEN = Meaning(mode=failures.CALENDAR_FORBIDDEN, cause="forbidden", outcome=Outcome.NEUTRAL)
_NOT_ENABLED = replace(_MISCONFIGURED, cause="access_not_configured")

# https://developers.google.com/workspace/calendar/api/guides/errors
# The scope of a limit is what holds where Google does not name the limit.
BY_REASON: Mapping[str, Meaning] = {
    "userRateLimitExceeded": _USER_LIMIT,
    "rateLimitExceeded": _USER_LIMIT,  # "per calendar or per authenticated user"
    "RATE_LIMIT_EXCEEDED": _USER_LIMIT,
    # Used up for longer than a request lives: another attempt cannot help.
    "quotaExceeded": replace(_USER_LIMIT, is_retryable=False),
    "dailyLimitExceeded": replace(_PROJECT_LIMIT, is_retryable=False),
    "insufficientPermissions": _NO_PERMISSION,
    "ACCESS_TOKEN_SCOPE_INSUFFICIENT": _NO_PERMISSION,
    "accessNotConfigured": _NOT_ENABLED,
    "SERVICE_DISABLED": _NOT_ENABLED,
    "CONSUMER_INVALID": _NOT_ENABLED,
    "CONSUMER_SUSPENDED": _NOT_ENABLED,
    # This account has no calendar, or its administrator does not let us in.
    **dict.fromkeys(
        (
            "accountDeleted",
            "accountDisabled",
            "accountUnverified",
            "domainPolicy",
            "forbidden",
            "notACalendarUser",
            "notFound",
        ),
        _FORBIDDEN,
    ),
}

_UNEXPECTED = Meaning(cause="status", outcome=Outcome.NEUTRAL)
_UNAUTHORIZED = Meaning(
    mode=failures.CALENDAR_REAUTH_REQUIRED, cause="unauthorized", outcome=Outcome.NEUTRAL
)
_SYNC_TOKEN_EXPIRED = Meaning(cause="sync_token", outcome=Outcome.NEUTRAL)

CIRCUIT_OPEN = Meaning(
    mode=failures.PROVIDER_CIRCUIT_OPEN, cause="circuit_open", outcome=Outcome.NEUTRAL
)

# An answer that cannot be read leaves open what the provider did, as no answer does.
_BAD = Meaning(mode=failures.PROVIDER_BAD_RESPONSE, cause="bad_response", is_unanswered=True)
TOO_LARGE = replace(_BAD, cause="too_large", bad_because="too_large", outcome=Outcome.NEUTRAL)
# One user's data must not cut everybody off, a page of HTML instead of JSON must.
WRONG_SHAPE = replace(_BAD, bad_because="shape", outcome=Outcome.NEUTRAL)
NOT_JSON = replace(_BAD, bad_because="not_json")
BROKEN_JSON = replace(NOT_JSON, outcome=Outcome.NEUTRAL)
CUT_JSON = replace(_BAD, bad_because="truncated")
ENDLESS_PAGES = replace(_BAD, bad_because="endless_pages", outcome=Outcome.NEUTRAL)
CUT_BODY = replace(CUT_JSON, is_retryable=True)


def transport_error(error: Exception) -> Meaning:
    """Return what an exception of the transport means.

    Raises KeyError for one that the table does not have.
    """
    known = (kind for kind in type(error).__mro__ if kind in BY_TRANSPORT_ERROR)
    return BY_TRANSPORT_ERROR[next(known, type(error))]


def refusal(endpoint: Endpoint, status: int, body: bytes) -> Meaning:
    """Return what an answer other than 200 means."""
    if status >= 500 or status == 408:
        return _SERVER_ERROR
    content = _object(body)
    error = content.get("error")
    details = error if isinstance(error, dict) else {}
    if endpoint is Endpoint.TOKEN and status != 429:
        return BY_TOKEN_ERROR.get(str(error), _UNEXPECTED)
    # A token that it cannot read at all (400) needs a full synchronisation as one that is too old does.
    if status == 410 or (status == 400 and re.search(rb'"(sync|page)Token"', body)):
        return _SYNC_TOKEN_EXPIRED
    if status not in {403, 404, 429}:
        return _UNAUTHORIZED if status == 401 else _UNEXPECTED
    known = (BY_REASON.get(reason) for reason in _strings(details, "reason"))
    fallback = _USER_LIMIT if status == 429 else _UNEXPECTED
    meaning = next((meaning for meaning in known if meaning), fallback)
    return _of_named_scope(meaning, details) if meaning.limit_scope else meaning


_PER_USER = re.compile(r"per[ _-]*(authenticated[ _-]*)?(user|calendar)", re.IGNORECASE)
_PER_PROJECT = re.compile(r"per[ _-]*project", re.IGNORECASE)
_LIMIT_IN_MESSAGE = re.compile(r"limit '([^']+)'")


def _of_named_scope(limit: Meaning, error: Mapping[str, Any]) -> Meaning:
    """Return the limit with the scope that its name says, as it is where nothing is named.

    Google names it in `details`, as `quota_limit` or `quotaId` ("defaultPerMinutePerUser"), and in the
    message ("... limit 'Queries per minute per user' of service ..."); in the message no word for the
    scope means the project.
    """
    for name in _strings(error, "quota_limit", "quotaId"):
        if _PER_USER.search(name):
            return replace(_USER_LIMIT, is_retryable=limit.is_retryable)
        if _PER_PROJECT.search(name):
            return replace(_PROJECT_LIMIT, is_retryable=limit.is_retryable)
    for message in _strings(error, "message"):
        if _PER_USER.search(message):
            return replace(_USER_LIMIT, is_retryable=limit.is_retryable)
        if _LIMIT_IN_MESSAGE.search(message) or _PER_PROJECT.search(message):
            return replace(_PROJECT_LIMIT, is_retryable=limit.is_retryable)
    return limit


def unreadable(endpoint: Endpoint, body: bytes) -> Meaning:
    """Return what a 200 means whose body is not the JSON that was promised."""
    if not body.lstrip().startswith(b"{"):
        return NOT_JSON
    try:
        from_json(body)
    except ValueError:
        pass
    else:
        return WRONG_SHAPE
    try:
        from_json(body, allow_partial=True)
    except ValueError:
        # Broken in the middle: the text of one user's event, where there are events.
        return BROKEN_JSON if endpoint is Endpoint.CALENDAR else NOT_JSON
    return CUT_JSON


_KINDS: Mapping[str, type[CallFailed]] = {
    _UNAUTHORIZED.cause: AccessTokenRefused,
    _SYNC_TOKEN_EXPIRED.cause: SyncTokenExpired,
    TOO_LARGE.cause: AnswerTooLarge,
}


def failure_of(
    meaning: Meaning,
    endpoint: Endpoint,
    *,
    retry_after_seconds: float | None = None,
    is_unanswered: bool = False,
) -> CallFailed:
    failure = _KINDS.get(meaning.cause, CallFailed)(
        meaning.mode or endpoint.broken,
        cause=meaning.cause,
        retry_after_seconds=retry_after_seconds,
    )
    failure.is_unanswered = is_unanswered
    return failure


def _object(body: bytes) -> Mapping[str, Any]:
    try:
        content = from_json(body)
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}


def _strings(content: object, *names: str) -> Iterator[str]:
    """Yield the strings of these names, wherever in Google's error object they stand."""
    if isinstance(content, dict):
        for name, value in content.items():
            if name in names and isinstance(value, str):
                yield value
            yield from _strings(value, *names)
    elif isinstance(content, list):
        for item in content:
            yield from _strings(item, *names)
