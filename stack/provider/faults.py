"""What each mode does to an answer.

Modes come in two kinds. Those *in front* stand in for the provider: the grant is not touched, as
when a load balancer answers. Those *behind* let the provider do its work and then spoil or lose
the answer: a refresh token has been rotated by then, which is what makes a lost answer dangerous.
"""

from collections.abc import Callable, Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from stack.provider import transport, wire
from stack.provider.events import Body
from stack.provider.modes import CalendarFault, Fault, TokenFault
from stack.provider.oddities import altered, with_odd_events
from stack.provider.wire import Answer

_RETRY_AFTER_SECONDS = 5

IN_FRONT_OF_TOKEN: Mapping[str, Answer] = {
    "invalid_grant": wire.token_error(400, "invalid_grant", wire.REVOKED),
    "invalid_client": wire.token_error(401, "invalid_client", "The OAuth client was not found."),
    "unauthorized_client": wire.token_error(401, "unauthorized_client", "Unauthorized"),
    "deleted_client": wire.token_error(401, "deleted_client", "The OAuth client was deleted."),
    "disabled_client": wire.token_error(401, "disabled_client", "The OAuth client was disabled."),
    "admin_policy_enforced": wire.token_error(
        400, "admin_policy_enforced", "The account's administrator does not allow these scopes."
    ),
    "access_denied": wire.token_error(403, "access_denied", "Account restricted"),
    "error_429": wire.token_error(429, "rate_limit_exceeded", "Rate Limit Exceeded"),
    "error_500": wire.token_error(500, "internal_failure"),
    "error_503": wire.token_error(503, "temporarily_unavailable"),
    "html": wire.HTML_PAGE,
}
_USER = ("defaultPerMinutePerUser", "Queries per minute per user")
_PROJECT = ("defaultPerMinutePerProject", "Queries per minute")
_DAILY = "https://console.developers.google.com/apis/api/calendar-json.googleapis.com/quotas"
IN_FRONT_OF_CALENDAR: Mapping[str, Answer] = {
    "unauthorized": wire.AUTH_ERROR,
    "insufficient_permissions": wire.INSUFFICIENT_PERMISSIONS,
    "not_a_calendar_user": wire.NOT_A_CALENDAR_USER,
    "domain_policy": wire.DOMAIN_POLICY,
    "access_not_configured": wire.ACCESS_NOT_CONFIGURED,
    "user_rate_limit_exceeded": wire.usage_limit(
        403, "userRateLimitExceeded", "User Rate Limit Exceeded"
    ),
    "rate_limit_exceeded": wire.usage_limit(403, "rateLimitExceeded", "", limit=_PROJECT),
    "rate_limit_exceeded_429": wire.usage_limit(429, "rateLimitExceeded", "", limit=_PROJECT),
    "rate_limit_exceeded_per_user": wire.usage_limit(403, "rateLimitExceeded", "", limit=_USER),
    "rate_limit_exceeded_unnamed": wire.usage_limit(
        403, "rateLimitExceeded", "Rate Limit Exceeded"
    ),
    "quota_exceeded": wire.usage_limit(403, "quotaExceeded", "Calendar usage limits exceeded."),
    "daily_limit_exceeded": wire.usage_limit(
        403,
        "dailyLimitExceeded",
        "Daily Limit Exceeded. The quota will be reset at midnight Pacific Time (PT). You may "
        f"monitor your quota usage and adjust limits in the API Console: {_DAILY}",
    ),
    "error_429": wire.usage_limit(429, "rateLimitExceeded", "Rate Limit Exceeded"),
    "error_500": wire.BACKEND_ERROR,
    "error_503": wire.UNAVAILABLE,
    "html": wire.HTML_PAGE,
    "gone": wire.FULL_SYNC_REQUIRED,
}


async def stand_in_front(
    fault: Fault | None, answers: Mapping[str, Answer], request: Request
) -> Response | None:
    """The response that replaces the provider's work; None when it is to go on.

    A hang whose client gives up ends there: the grant is as if nothing had been asked.
    """
    match fault:
        case None:
            return None
        case Fault(mode="hang"):
            return None if await transport.outlasts(request, fault.seconds) else transport.HangUp()
        case Fault(mode="close"):
            return transport.HangUp()
        case Fault(mode="reset"):
            return transport.HangUp(with_reset=True)
        case Fault(mode=mode) if mode in answers:
            return transport.whole(_with_retry_after(answers[mode], fault))
    return None


def deliver(answer: Answer, fault: Fault | None) -> Response:
    """The provider's answer as the fault lets it through."""
    match fault:
        case Fault(mode="lost_response"):
            return transport.HangUp()
        case Fault(mode="slow_drip"):
            return transport.dripped(answer, seconds=fault.seconds)
        case Fault(mode="huge"):
            return transport.huge(answer, megabytes=fault.megabytes)
        case Fault(mode="cut_body"):
            return transport.cut(answer)
        case Fault(mode="truncated_json"):
            half = answer.body[: len(answer.body) // 2]
            return transport.whole(Answer(answer.status, half, answer.headers))
    return transport.whole(answer)


def spoil_tokens(content: Body, fault: TokenFault | None) -> Body:
    """A successful token answer with its content made wrong."""
    match fault:
        case TokenFault(mode="wrong_types"):
            return {
                **content,
                "access_token": 12345,
                "expires_in": "soon",
                "token_type": ["Bearer"],
            }
        case TokenFault(mode="no_access_token"):
            return {name: value for name, value in content.items() if name != "access_token"}
        case TokenFault(mode="reduced_scope"):
            return {**content, "scope": "openid"}
        case TokenFault(mode="altered"):
            return altered(content, fields=fault.fields, without=fault.without)
    return content


def spoil_page(page: Body, fault: CalendarFault | None, *, page_number: int) -> Body:
    """A page of events with its content made wrong.

    page_number: how many endless pages the client has followed; it makes each page new to it.
    """
    match fault:
        case CalendarFault(mode="odd_events"):
            return with_odd_events(page, fault.kinds)
        case CalendarFault(mode="altered"):
            return altered(page, fields=fault.fields, without=fault.without)
    if fault is None or fault.mode not in _SPOILT_PAGES:
        return page
    return _SPOILT_PAGES[fault.mode](page, page_number)


def _wrong_types(page: Body, _page_number: int) -> Body:
    items = [{**item, "id": 12345, "status": None, "start": "tomorrow"} for item in page["items"]]
    return {**page, "items": items or "none"}


def _no_sync_token(page: Body, _page_number: int) -> Body:
    return {name: value for name, value in page.items() if name != "nextSyncToken"}


def _duplicate_ids(page: Body, _page_number: int) -> Body:
    again = [{**item, "etag": f'"{index}"'} for index, item in enumerate(page["items"])]
    return {**page, "items": page["items"] + again}


def _endless_pages(page: Body, page_number: int) -> Body:
    items = [{**item, "id": f"{item['id']}{page_number}"} for item in page["items"]]
    endless = {name: value for name, value in page.items() if name != "nextSyncToken"}
    return {**endless, "nextPageToken": f"{ENDLESS}{page_number + 1}", "items": items}


ENDLESS = "endless-"
"""Page tokens of the mode `endless_pages` start with it."""

_SPOILT_PAGES: Mapping[str, Callable[[Body, int], dict[str, Any]]] = {
    "wrong_types": _wrong_types,
    "no_sync_token": _no_sync_token,
    "duplicate_ids": _duplicate_ids,
    "endless_pages": _endless_pages,
}


def _with_retry_after(answer: Answer, fault: Fault) -> Answer:
    seconds = fault.retry_after_seconds
    if seconds is None and answer.status == 429:
        seconds = _RETRY_AFTER_SECONDS
    if seconds is None:
        return answer
    return Answer(answer.status, answer.body, {**answer.headers, "Retry-After": str(seconds)})
