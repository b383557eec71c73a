"""The taxonomy: every way in which a request can end badly, declared once.

A mode's `code` is its one spelling in problem bodies, metric labels, log fields, runbooks, dashboards
and drills. Codes are immutable: one that is no longer raised stays here, marked retired, so that it
is never used for something else. Domain code raises `Failure(PROVIDER_TIMEOUT)`; `responses.py` turns
it into an answer, a counter, a log field and a span status. A newcomer's usual mistake is to put what
went wrong into the text: public texts are fixed here, the inner cause goes into `Failure(cause=...)`,
which is logged and never sent.
"""

import enum
from dataclasses import dataclass
from types import MappingProxyType

__all__ = ["MODES", "Blame", "Failure", "FieldError", "Mode", "mode_of"]


class Blame(enum.StrEnum):
    """Who can mend it. Decides the log level (caller info, dependency warning, us error)."""

    CALLER = "caller"
    DEPENDENCY = "dependency"
    US = "us"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mode:
    """One failure mode.

    status: the HTTP status of the answer.
    retryable: the same request may succeed later without any change; then `Retry-After` is sent.
    alert: the alert that owns the mode, or None where a rate on a dashboard is enough.
    title, detail: public, fixed texts; `detail` says what the caller can do.
    explanation: what happened, for `GET /problems/<code>`; two sentences at most.
    """

    code: str
    status: int
    blame: Blame
    retryable: bool = False
    alert: str | None = None
    title: str
    detail: str
    explanation: str = ""
    retired: bool = False


_MODES: dict[str, Mode] = {}


def _declare(
    code: str, status: int, blame: Blame, title: str, detail: str, **more: object
) -> Mode:
    if code in _MODES:
        message = f"failure code {code!r} is declared twice"
        raise ValueError(message)
    mode = Mode(code=code, status=status, blame=blame, title=title, detail=detail, **more)  # type: ignore[arg-type]
    _MODES[code] = mode
    return mode


@dataclass(frozen=True, slots=True)
class FieldError:
    """What is wrong with one field of a request.

    field: as the contract calls it, so fit for metrics, logs and spans. type, msg: fixed texts.
    sent_as: what the caller calls it, for the answer alone; empty where that is the same.
    """

    field: str
    type: str
    msg: str
    sent_as: str = ""


class Failure(Exception):
    """A request ends with this mode.

    cause: internal, closed vocabulary (`timeout`, `auth`, `refused`), for the log; never sent.
    retry_after_seconds: overrides the jittered default of retryable modes.
    errors: for a 422: the fields that are wrong.
    headers, extensions: sent with the answer as they are: response headers (WWW-Authenticate) and
        RFC 9457 extension members.
    log: fields for the canonical log line; never values from a body, token or driver message.
    """

    def __init__(
        self,
        mode: Mode,
        *,
        cause: str | None = None,
        retry_after_seconds: float | None = None,
        errors: list[FieldError] | None = None,
        headers: dict[str, str] | None = None,
        extensions: dict[str, str] | None = None,
        log: dict[str, str | int | float | bool | None] | None = None,
    ) -> None:
        super().__init__(mode.code)
        self.mode = mode
        self.cause = cause
        self.retry_after_seconds = retry_after_seconds
        self.errors = errors
        self.headers = headers or {}
        self.extensions = extensions or {}
        self.log = log or {}


CALLER, DEPENDENCY, US = Blame.CALLER, Blame.DEPENDENCY, Blame.US

# --- requests that cannot be read -----------------------------------------------------------------
VALIDATION_FAILED = _declare(
    "validation_failed",
    422,
    CALLER,
    "The request does not fit the contract",
    "Correct the fields listed in `errors` and send the request again.",
    alert="ApiValidationShift",
    explanation="A field of the body, path or query is missing or has a value that the route does not accept. `errors` names each field and what is wrong with it, never the value.",
)
BODY_MALFORMED = _declare(
    "body_malformed",
    400,
    CALLER,
    "The body cannot be read",
    "Send well-formed UTF-8 JSON: no NaN or Infinity, at most 32 levels deep, at most 4096 values, numbers of at most 400 digits.",
    explanation="The body is not JSON that this service is willing to parse.",
)
BODY_TOO_LARGE = _declare(
    "body_too_large",
    413,
    CALLER,
    "The body is too large",
    "Send at most 1 MiB.",
    explanation="Bodies over 1 MiB are refused before they are read to the end.",
)
SLOW_BODY = _declare(
    "slow_body",
    408,
    CALLER,
    "The body does not arrive",
    "Send the whole body at once: it has 2 s, or less while many others of yours are still arriving.",
    explanation="The body of the request did not arrive in time; nothing was done and the connection is closed.",
)
CALLER_DEADLINE_EXCEEDED = _declare(
    "caller_deadline_exceeded",
    408,
    CALLER,
    "The time that the request gave itself is up",
    "Give more time in `X-Request-Deadline-Ms`, or leave it out; a write may or may not have happened, so read before you repeat it.",
    explanation="The answer was not ready within the milliseconds of `X-Request-Deadline-Ms`, which are fewer than the route's own.",
)
CONCURRENCY_LIMITED = _declare(
    "concurrency_limited",
    429,
    CALLER,
    "Too many requests of yours at once",
    "Wait for answers before you send more.",
    retryable=True,
    explanation="One account, or one address where the account is not known, may have only a share of what is answered at a time.",
)
HEADER_TOO_LARGE = _declare(
    "header_too_large",
    431,
    CALLER,
    "The request head is too large",
    "Send at most 16 KiB of request line and headers.",
    explanation="The request line and headers together are limited to 16 KiB; the connection is closed.",
)
UNSUPPORTED_MEDIA_TYPE = _declare(
    "unsupported_media_type",
    415,
    CALLER,
    "The content type is not accepted here",
    "Send `application/json` (`application/x-www-form-urlencoded` for the token route).",
    explanation="The route reads another content type than the one the request declares.",
)
NOT_FOUND = _declare(
    "not_found",
    404,
    CALLER,
    "There is nothing here",
    "Check the path; the OpenAPI document at /openapi.json lists every route.",
    explanation="No route has this path.",
)
METHOD_NOT_ALLOWED = _declare(
    "method_not_allowed",
    405,
    CALLER,
    "This path does not take that method",
    "Use one of the methods in the `Allow` header.",
    explanation="The path exists, the method does not.",
)
RATE_LIMITED = _declare(
    "rate_limited",
    429,
    CALLER,
    "Too many attempts",
    "Wait as long as `Retry-After` says.",
    retryable=True,
    explanation="Sign-in attempts are limited per address.",
)
PRECONDITION_FAILED = _declare(
    "precondition_failed",
    412,
    CALLER,
    "The resource has changed meanwhile",
    "Read it again, apply your change to what you get, and send it with the new `ETag` in `If-Match`.",
    explanation="`If-Match` names a version that is no longer the current one, so nothing was written.",
)

# --- who is calling -----------------------------------------------------------------------------
CREDENTIALS_MISSING = _declare(
    "credentials_missing",
    401,
    CALLER,
    "Sign in first",
    "Send `Authorization: Bearer <token>` or the session cookie; `POST /api/v1/auth/token` gives both.",
    explanation="The route needs a caller and the request names none.",
)
LOGIN_FAILED = _declare(
    "login_failed",
    401,
    CALLER,
    "E-mail or password is wrong",
    "Check both and try again.",
    explanation="The answer is the same for an unknown e-mail and a wrong password.",
)
TOKEN_MALFORMED = _declare(
    "token_malformed",
    401,
    CALLER,
    "The access token cannot be read",
    "Sign in again; send the token exactly as it was issued.",
    alert="AuthRejectionShift",
    explanation="The token is not a JWT of a shape that this service issues or accepts.",
)
TOKEN_CLAIMS_MISSING = _declare(
    "token_claims_missing",
    401,
    CALLER,
    "The access token is incomplete",
    "Sign in again to get a complete token.",
    alert="AuthRejectionShift",
    explanation="A claim that every token must carry is absent.",
)
TOKEN_INVALID = _declare(
    "token_invalid",
    401,
    CALLER,
    "The access token is not valid here",
    "Sign in again. If every caller gets this answer, the signing key has changed: tell the operator.",
    alert="AuthSignatureRejections",
    explanation="Signature, issuer or audience do not match what this service trusts.",
)
TOKEN_EXPIRED = _declare(
    "token_expired",
    401,
    CALLER,
    "The access token is outside its time",
    "Sign in again; check the clock of the machine that issued the token.",
    alert="AuthRejectionShift",
    explanation="The token has expired or is not valid yet; 30 seconds of clock difference are forgiven.",
)
TOKEN_CLAIMS_CONFLICT = _declare(
    "token_claims_conflict",
    401,
    CALLER,
    "The access token contradicts itself",
    "Sign in again to get a fresh token.",
    alert="AuthClaimsConflict",
    explanation="The claims mix the two token formats or do not match the account; the service never guesses which is meant.",
)
TOKEN_SUBJECT_UNKNOWN = _declare(
    "token_subject_unknown",
    401,
    CALLER,
    "The account of this token no longer exists",
    "Sign in with an existing account.",
    alert="AuthRejectionShift",
    explanation="The token is genuine, its account is gone.",
)
CSRF_FAILED = _declare(
    "csrf_failed",
    403,
    CALLER,
    "The request cannot be distinguished from a forged one",
    "Fetch a token from `GET /api/v1/auth/csrf` in the same session and send it in `X-CSRF-Token`, from our own pages.",
    alert="CsrfRejectionSpike",
    explanation="A request that changes something and is authenticated by a cookie must prove that our own page sent it.",
)

# --- the caller's data --------------------------------------------------------------------------
PROFILE_MISSING = _declare(
    "profile_missing",
    404,
    CALLER,
    "There is no profile for this account",
    "Create it with `PUT /api/v1/profile`.",
    explanation="The account exists, its profile row does not.",
)
REFERENCE_MISSING = _declare(
    "reference_missing",
    409,
    CALLER,
    "Something this refers to is gone",
    "Read the resource again before you change it.",
    alert="StoredDataInvalid",
    explanation="A row that this write depends on was removed meanwhile; nothing was written.",
)
EMAIL_CONFLICT = _declare(
    "email_conflict",
    409,
    CALLER,
    "Another account uses this e-mail address",
    "Use another address.",
    explanation="E-mail addresses are unique without regard to case.",
)
TX_CONFLICT = _declare(
    "tx_conflict",
    409,
    DEPENDENCY,
    "Another change was faster",
    "Send the request again.",
    retryable=True,
    explanation="The database ended this transaction in favour of a concurrent one, also after two retries; nothing was written.",
)

# --- the database -------------------------------------------------------------------------------
DB_POOL_EXHAUSTED = _declare(
    "db_pool_exhausted",
    503,
    US,
    "The service is out of database connections",
    "Try again after `Retry-After`.",
    retryable=True,
    alert="DbPoolExhausted",
    explanation="Every database connection was in use for longer than a request may wait for one.",
)
DB_UNAVAILABLE = _declare(
    "db_unavailable",
    503,
    DEPENDENCY,
    "The database cannot be reached",
    "Try again after `Retry-After`.",
    retryable=True,
    alert="PostgresDown",
    explanation="Opening a database connection failed; nothing was written.",
)
DB_CONNECTION_LOST = _declare(
    "db_connection_lost",
    503,
    DEPENDENCY,
    "The database connection broke",
    "Try again after `Retry-After`; a write may or may not have happened, so read before you repeat it.",
    retryable=True,
    alert="DbConnectionsFlapping",
    explanation="The connection ended in the middle of the work.",
)
DB_TIMEOUT = _declare(
    "db_timeout",
    504,
    US,
    "The database took too long",
    "Try again later; nothing was written.",
    alert="DbQueriesTimingOut",
    explanation="A statement ran into its time limit and was cancelled.",
)
DB_LOCK_TIMEOUT = _declare(
    "db_lock_timeout",
    503,
    US,
    "The data is locked by other work",
    "Try again after `Retry-After`; nothing was written.",
    retryable=True,
    alert="DbQueriesTimingOut",
    explanation="A row or table stayed locked by another transaction for longer than a request may wait.",
)
SCHEMA_MISMATCH = _declare(
    "schema_mismatch",
    503,
    US,
    "The database is not at the version this service needs",
    "Nothing was written and nothing is lost; try again when the operators have run the migration.",
    retryable=True,
    alert="DbSchemaMismatchErrors",
    explanation="A table, column or type that this version of the service needs is missing in the database.",
)
CONSTRAINT_VIOLATION = _declare(
    "constraint_violation",
    500,
    US,
    "The database refused the change",
    "Nothing was written. Report the `trace_id`.",
    alert="ApiErrorBudgetBurn",
    explanation="A rule of the database refused data that the service had accepted: the two disagree.",
)
COMMIT_FAILED = _declare(
    "commit_failed",
    500,
    US,
    "The change could not be completed",
    "Nothing was written. Report the `trace_id`.",
    alert="DbCommitFailures",
    explanation="The database refused the transaction at its end.",
)
STORED_DATA_INVALID = _declare(
    "stored_data_invalid",
    500,
    US,
    "Stored data does not fit the contract",
    "Nothing you can correct in the request. Report the `trace_id`.",
    alert="StoredDataInvalid",
    explanation="A stored row cannot be answered as the contract promises; the operators see which field.",
)
RESPONSE_TOO_LARGE = _declare(
    "response_too_large",
    500,
    US,
    "The stored data is too large to answer with",
    "Nothing you can correct in the request. Report the `trace_id`.",
    alert="StoredDataInvalid",
    explanation="The stored document is over the size that an answer may have; it was not loaded.",
)

# --- the calendar provider ----------------------------------------------------------------------
CALENDAR_NOT_CONNECTED = _declare(
    "calendar_not_connected",
    409,
    CALLER,
    "No calendar is connected",
    "Connect one with `PUT /api/v1/calendar/connection`.",
    explanation="The account has no Google grant.",
)
CALENDAR_REAUTH_REQUIRED = _declare(
    "calendar_reauth_required",
    409,
    CALLER,
    "Google no longer accepts the calendar connection",
    "Connect the calendar again; `reauth_url` says where.",
    alert="OAuthGrantRevocationSpike",
    explanation="The grant was revoked or has expired at Google. You stay signed in here.",
)
CALENDAR_SCOPE_MISSING = _declare(
    "calendar_scope_missing",
    409,
    CALLER,
    "The calendar connection lacks a permission",
    "Connect the calendar again and allow reading events; `reauth_url` says where.",
    alert="OAuthGrantRevocationSpike",
    explanation="The grant does not include the scope that reading events needs.",
)
CALENDAR_FORBIDDEN = _declare(
    "calendar_forbidden",
    409,
    CALLER,
    "Google does not let this account use a calendar",
    "Ask the administrator of the Google account to allow Google Calendar, or connect another account; `reauth_url` says where.",
    explanation="The Google account has no calendar, is disabled, or its administrator does not allow this service. Trying again changes nothing.",
)
PROVIDER_UNAVAILABLE = _declare(
    "provider_unavailable",
    503,
    DEPENDENCY,
    "Google's sign-in service does not answer properly",
    "Try again after `Retry-After`; stored events stay readable.",
    retryable=True,
    alert="CalendarProviderDown",
    explanation="Refreshing the calendar grant failed at the provider.",
)
PROVIDER_TIMEOUT = _declare(
    "provider_timeout",
    504,
    DEPENDENCY,
    "Google took too long",
    "Try again later; stored events stay readable.",
    alert="CalendarProviderDown",
    explanation="The provider did not answer within the time a request may take.",
)
PROVIDER_ERROR = _declare(
    "provider_error",
    502,
    DEPENDENCY,
    "Google answered with an error",
    "Try again later; stored events stay readable.",
    alert="CalendarProviderDown",
    explanation="The provider refused or dropped the call, also after retries.",
)
PROVIDER_CIRCUIT_OPEN = _declare(
    "provider_circuit_open",
    503,
    DEPENDENCY,
    "Google is failing; calls are paused",
    "Try again after `Retry-After`; stored events stay readable.",
    retryable=True,
    alert="CalendarProviderDown",
    explanation="After repeated failures the service stops calling the provider for a while and answers at once.",
)
PROVIDER_BAD_RESPONSE = _declare(
    "provider_bad_response",
    502,
    DEPENDENCY,
    "Google's answer makes no sense",
    "Try again later; stored events stay readable.",
    alert="ProviderBadPayload",
    explanation="The provider's answer is not what its interface promises; nothing of that answer was stored.",
)
PROVIDER_RATE_LIMITED = _declare(
    "provider_rate_limited",
    429,
    DEPENDENCY,
    "Google limits the calls for this account",
    "Wait as long as `Retry-After` says.",
    retryable=True,
    explanation="The provider's limit per user is reached.",
)
PROVIDER_QUOTA_EXHAUSTED = _declare(
    "provider_quota_exhausted",
    503,
    DEPENDENCY,
    "Google's quota for this service is used up",
    "Try again after `Retry-After`; stored events stay readable.",
    retryable=True,
    alert="ProviderQuotaExhausted",
    explanation="The provider's limit for the whole service is reached.",
)
PROVIDER_MISCONFIGURED = _declare(
    "provider_misconfigured",
    500,
    US,
    "The calendar connection is not set up correctly",
    "Nothing you can correct. Report the `trace_id`.",
    alert="OAuthClientCredentialRejected",
    explanation="The provider refuses this service's own credentials, or a stored grant cannot be decrypted.",
)

# --- limits and the unknown ---------------------------------------------------------------------
OVERLOADED = _declare(
    "overloaded",
    503,
    US,
    "Too many requests at once",
    "Try again after `Retry-After`.",
    retryable=True,
    alert="ServiceOverloaded",
    explanation="The service refuses what it could not answer in time.",
)
DEADLINE_EXCEEDED = _declare(
    "deadline_exceeded",
    504,
    US,
    "The request ran out of time",
    "Try again later; a write may or may not have happened, so read before you repeat it.",
    alert="ApiErrorBudgetBurn",
    explanation="The answer was not ready within the route's deadline (reads 2 s, writes 3 s, sign-in 5 s, sync 15 s), counted from the end of the request.",
)
INTERNAL_ERROR = _declare(
    "internal_error",
    500,
    US,
    "Something unexpected happened",
    "Report the `trace_id`.",
    alert="UnhandledExceptions",
    explanation="The service met a condition that it has no name for.",
)

MODES = MappingProxyType(_MODES)


def mode_of(code: str) -> Mode:
    """Return the mode with this code; raises KeyError for a code that was never declared."""
    return MODES[code]
