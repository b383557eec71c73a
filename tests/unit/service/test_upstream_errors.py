import inspect
import json

import httpx
import pytest

from firedrill_kit.resilience.breaker import Outcome
from service import failures
from service.upstream import errors
from service.upstream.errors import Endpoint, Meaning
from stack.provider import faults, wire


def concrete_transport_errors() -> list[type[httpx.RequestError]]:
    """Every class of httpx that a request can raise and that has no subclasses."""
    classes = [
        item
        for _, item in inspect.getmembers(httpx, inspect.isclass)
        if issubclass(item, httpx.RequestError)
    ]
    return [item for item in classes if not item.__subclasses__()]


def test_the_table_covers_every_transport_error_of_httpx_and_nothing_else() -> None:
    assert set(errors.BY_TRANSPORT_ERROR) - {TimeoutError, httpx.InvalidURL} == set(
        concrete_transport_errors()
    )


@pytest.mark.parametrize("kind", concrete_transport_errors())
def test_each_transport_error_has_a_meaning(kind: type[Exception]) -> None:
    meaning = errors.transport_error(kind("text of the library"))

    assert meaning.cause in {"timeout", "connect", "disconnect", "local"}


def test_what_never_left_is_not_unanswered() -> None:
    """Otherwise a refused connection would be taken for a lost rotation."""
    never_sent = {httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError}

    for kind, meaning in errors.BY_TRANSPORT_ERROR.items():
        assert meaning.is_unanswered == (kind not in never_sent and meaning.cause != "local"), kind


NOT_ENABLED = b'{"error": {"errors": [{"reason": "accessNotConfigured"}]}}'
CALENDAR = [
    (401, wire.AUTH_ERROR.body, failures.CALENDAR_REAUTH_REQUIRED, False),
    (403, wire.INSUFFICIENT_PERMISSIONS.body, failures.CALENDAR_SCOPE_MISSING, False),
    (403, faults.IN_FRONT_OF_CALENDAR["rate_limit_exceeded"].body, failures.PROVIDER_QUOTA_EXHAUSTED, True),
    (403, faults.IN_FRONT_OF_CALENDAR["user_rate_limit_exceeded"].body, failures.PROVIDER_RATE_LIMITED, True),
    (403, faults.IN_FRONT_OF_CALENDAR["quota_exceeded"].body, failures.PROVIDER_RATE_LIMITED, False),
    (403, faults.IN_FRONT_OF_CALENDAR["daily_limit_exceeded"].body, failures.PROVIDER_QUOTA_EXHAUSTED, False),
    (403, NOT_ENABLED, failures.PROVIDER_MISCONFIGURED, False),
    (403, b'{"error": {"errors": [{"reason": "somethingNew"}]}}', failures.PROVIDER_ERROR, False),
    (403, b"", failures.PROVIDER_ERROR, False),
    (403, b"<html>", failures.PROVIDER_ERROR, False),
    (403, b'{"error": "forbidden"}', failures.PROVIDER_ERROR, False),
    (403, b'{"error": {"errors": "none"}}', failures.PROVIDER_ERROR, False),
    (403, b'{"error": {"errors": [1, {"reason": 2}, null]}}', failures.PROVIDER_ERROR, False),
    (404, wire.NOT_FOUND.body, failures.CALENDAR_FORBIDDEN, False),
    (404, b"<html>", failures.PROVIDER_ERROR, False),
    (403, wire.NOT_A_CALENDAR_USER.body, failures.CALENDAR_FORBIDDEN, False),
    (403, wire.DOMAIN_POLICY.body, failures.CALENDAR_FORBIDDEN, False),
    (403, wire.ACCESS_NOT_CONFIGURED.body, failures.PROVIDER_MISCONFIGURED, False),
    (302, b"", failures.PROVIDER_ERROR, False),
    (408, b"", failures.PROVIDER_ERROR, True),
    (429, b"", failures.PROVIDER_RATE_LIMITED, True),
    (500, b"", failures.PROVIDER_ERROR, True),
    (503, b"<html>", failures.PROVIDER_ERROR, True),
]  # fmt: skip


@pytest.mark.parametrize(("status", "body", "mode", "is_retryable"), CALENDAR)
def test_a_refusal_of_the_calendar_is_told_by_status_and_reason(
    status: int,
    body: bytes,
    mode: failures.Mode,
    is_retryable: bool,
) -> None:
    meaning = errors.refusal(Endpoint.CALENDAR, status, body)

    assert errors.failure_of(meaning, Endpoint.CALENDAR).mode is mode
    assert meaning.is_retryable is is_retryable
    assert not meaning.is_unanswered
    assert (meaning.outcome is Outcome.FAIL) == (status in {408, 500, 503})


@pytest.mark.parametrize(
    "body", [wire.FULL_SYNC_REQUIRED.body, wire.invalid_parameter("syncToken", "Invalid").body]
)
def test_a_sync_token_that_is_no_good_is_a_case_of_its_own(body: bytes) -> None:
    status = 410 if body == wire.FULL_SYNC_REQUIRED.body else 400

    failure = errors.failure_of(errors.refusal(Endpoint.CALENDAR, status, body), Endpoint.CALENDAR)

    assert isinstance(failure, errors.SyncTokenExpired)


@pytest.mark.parametrize(
    ("status", "body", "mode"),
    [
        (400, b'{"error": "invalid_grant"}', failures.CALENDAR_REAUTH_REQUIRED),
        (401, b'{"error": "invalid_client"}', failures.PROVIDER_MISCONFIGURED),
        (401, b'{"error": "unauthorized_client"}', failures.PROVIDER_MISCONFIGURED),
        (400, b'{"error": "redirect_uri_mismatch"}', failures.PROVIDER_MISCONFIGURED),
        (401, b'{"error": "deleted_client"}', failures.PROVIDER_MISCONFIGURED),
        (401, b'{"error": "disabled_client"}', failures.PROVIDER_MISCONFIGURED),
        (400, b'{"error": "admin_policy_enforced"}', failures.CALENDAR_REAUTH_REQUIRED),
        (403, b'{"error": "access_denied"}', failures.CALENDAR_REAUTH_REQUIRED),
        (403, b'{"error": "org_internal"}', failures.CALENDAR_REAUTH_REQUIRED),
        (400, b'{"error": "temporarily_unavailable"}', failures.PROVIDER_UNAVAILABLE),
        (403, b'{"error": "rate_limit_exceeded"}', failures.PROVIDER_RATE_LIMITED),
        (400, b'{"error": "something_new"}', failures.PROVIDER_UNAVAILABLE),
        (400, b'{"error": ["invalid_grant"]}', failures.PROVIDER_UNAVAILABLE),
        (400, b"[]", failures.PROVIDER_UNAVAILABLE),
        (401, b"", failures.PROVIDER_UNAVAILABLE),
        (429, b"", failures.PROVIDER_RATE_LIMITED),
        (500, b'{"error": "invalid_grant"}', failures.PROVIDER_UNAVAILABLE),
    ],
)
def test_a_refusal_of_the_token_endpoint_is_told_by_its_error(
    status: int, body: bytes, mode: failures.Mode
) -> None:
    meaning = errors.refusal(Endpoint.TOKEN, status, body)

    assert errors.failure_of(meaning, Endpoint.TOKEN).mode is mode


@pytest.mark.parametrize(
    ("body", "meaning"),
    [
        (wire.HTML_PAGE.body, errors.NOT_JSON),
        (b"", errors.NOT_JSON),
        (b"\xff\xfe", errors.NOT_JSON),
        (b"[1, 2]", errors.NOT_JSON),
        (b'{"items": [{"id": "a', errors.CUT_JSON),
        (b'{"items": [', errors.CUT_JSON),
        (b'{"items": nonsense}', errors.BROKEN_JSON),
        (b'{"items": 1}', errors.WRONG_SHAPE),
    ],
)
def test_a_body_that_is_not_as_promised_is_told_by_how_it_differs(
    body: bytes, meaning: Meaning
) -> None:
    assert errors.unreadable(Endpoint.CALENDAR, body) is meaning


@pytest.mark.parametrize(
    "meaning", [errors.BROKEN_JSON, errors.WRONG_SHAPE, errors.TOO_LARGE, errors.ENDLESS_PAGES]
)
def test_what_one_users_data_can_cause_says_nothing_about_the_provider(meaning: Meaning) -> None:
    assert meaning.outcome is Outcome.NEUTRAL


def test_a_broken_answer_of_the_token_endpoint_is_the_providers() -> None:
    """No user's text is in it."""
    assert errors.unreadable(Endpoint.TOKEN, b'{"a": nonsense}').outcome is Outcome.FAIL


def limit(
    reason: str = "rateLimitExceeded", message: str = "Rate Limit Exceeded", **named: str
) -> bytes:
    """Google's refusal; named: of `details[].metadata`."""
    error = {
        "message": message,
        "errors": [{"domain": "usageLimits", "reason": reason, "message": message}],
        "details": [{"reason": "RATE_LIMIT_EXCEEDED", "metadata": named}],
    }
    return json.dumps({"error": error}).encode()


def violation(quota_id: str) -> bytes:
    """The refusal as `google.rpc.QuotaFailure` has it."""
    violations = [{"quotaMetric": "calendar-json.googleapis.com/default", "quotaId": quota_id}]
    error = {"status": "RESOURCE_EXHAUSTED", "details": [{"violations": violations}]}
    return json.dumps({"error": {**error, "errors": [{"reason": "rateLimitExceeded"}]}}).encode()


QUOTA = "Quota exceeded for quota metric 'Queries' and limit '{}' of service 'calendar-json.googleapis.com'."


@pytest.mark.parametrize("status", [403, 429])
@pytest.mark.parametrize(
    ("body", "scope"),
    [
        (limit(quota_limit="defaultPerMinutePerUser"), "user"),
        (limit(quota_limit="DefaultRequestsPerMinutePerProjectPerUser"), "user"),
        (limit(quota_limit="defaultPerMinutePerProject"), "project"),
        (limit(quota_limit="defaultPerDayPerProject", reason="quotaExceeded"), "project"),
        (
            limit(quota_limit="defaultPerMinutePerProject", reason="userRateLimitExceeded"),
            "project",
        ),
        (violation("defaultPerMinutePerUser"), "user"),
        (violation("defaultPerMinutePerProject"), "project"),
        (limit(message=QUOTA.format("Queries per minute per user")), "user"),
        (limit(message=QUOTA.format("Queries per user per 100 seconds")), "user"),
        (limit(message=QUOTA.format("Queries per minute")), "project"),
        (limit(message=QUOTA.format("Queries per day")), "project"),
        (limit(message=QUOTA.format("Queries per minute"), quota_limit="xPerUser"), "user"),
        (limit(reason="userRateLimitExceeded"), "user"),
        (limit(reason="quotaExceeded"), "user"),
        (limit(reason="dailyLimitExceeded"), "project"),
        (limit(reason="dailyLimitExceeded", quota_limit="defaultPerDayPerUser"), "user"),
        # Nothing is named: "per calendar or per authenticated user", says Google's document.
        (limit(), "user"),
        (limit(quota_limit="somethingNew"), "user"),
    ],
)
def test_whose_limit_it_is_says_its_name_and_never_the_status(
    status: int, body: bytes, scope: str
) -> None:
    assert errors.refusal(Endpoint.CALENDAR, status, body).limit_scope == scope
