"""The endpoints that play Google: `/token`, `/revoke` and `events.list`.

They are plain ASGI applications, not functions that return a response, so that a call stays in
flight for the judge until its last byte is sent.
"""

import asyncio
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl

from starlette.requests import ClientDisconnect, Request
from starlette.types import Receive, Scope, Send

from stack.provider import faults, transport, wire
from stack.provider.events import Body, Calendars
from stack.provider.grants import Grants, TokenRefused, Tokens, refused
from stack.provider.judge import Judge
from stack.provider.listing import ListingRefused, list_events
from stack.provider.metrics import Metrics
from stack.provider.modes import CalendarFault, Modes
from stack.provider.oddities import selected

PRIMARY = "primary"


@dataclass(frozen=True)
class Provider:
    """Everything that a call may look at or change."""

    client_id: str
    client_secret: str
    grants: Grants
    calendars: Calendars
    modes: Modes
    judge: Judge
    metrics: Metrics


class TokenEndpoint:
    """`POST /token`: authorization_code and refresh_token."""

    def __init__(self, provider: Provider) -> None:
        self._provider = provider

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        form = await _form(request)
        if form is None:
            return
        provider = self._provider
        grant = provider.grants.owner(form.get("refresh_token") or form.get("code"))
        grant_id = grant.grant_id if grant else None
        with provider.judge.token_call(grant) as call:
            fault = provider.modes.take_token_fault(grant_id)
            call.outcome = request.state.mode = fault.mode if fault else "normal"
            await asyncio.sleep(provider.modes.latency_seconds("token", grant_id))
            response = await faults.stand_in_front(fault, faults.IN_FRONT_OF_TOKEN, request)
            if response is None:
                try:
                    tokens = self._grant_tokens(form, grant_id)
                except TokenRefused as refusal:
                    call.outcome = refusal.outcome
                    if refusal.outcome == "reuse":
                        provider.metrics.reuse.inc()
                    response = transport.whole(refusal.answer)
                else:
                    if fault is None:
                        call.outcome = "grace" if tokens.superseded else "success"
                    content = faults.spoil_tokens(token_content(tokens), fault)
                    response = faults.deliver(wire.token_answer(200, content), fault)
            await response(scope, receive, send)

    def _grant_tokens(self, form: Mapping[str, str], grant_id: str | None) -> Tokens:
        """Google's checks in Google's order. Raises TokenRefused."""
        self._check_client(form)
        terms = self._provider.modes.terms(grant_id)
        match form.get("grant_type", ""):
            case "refresh_token":
                return self._provider.grants.refresh(_required(form, "refresh_token"), terms)
            case "authorization_code":
                return self._provider.grants.exchange(
                    _required(form, "code"),
                    redirect_uri=_required(form, "redirect_uri"),
                    terms=terms,
                )
            case other:
                message = f"Invalid grant_type: {other[:64]}"
                raise refused(400, "unsupported_grant_type", message)

    def _check_client(self, form: Mapping[str, str]) -> None:
        if not form.get("client_id"):
            raise refused(400, "invalid_request", "Could not determine client ID from request.")
        if form["client_id"] != self._provider.client_id:
            raise refused(401, "invalid_client", "The OAuth client was not found.")
        if not form.get("client_secret"):
            raise refused(400, "invalid_request", "client_secret is missing.")
        secret, expected = form["client_secret"].encode(), self._provider.client_secret.encode()
        if not hmac.compare_digest(secret, expected):
            raise refused(401, "invalid_client", "The provided client secret is invalid.")


class RevokeEndpoint:
    """`POST /revoke`: ends the family of an access or refresh token."""

    def __init__(self, provider: Provider) -> None:
        self._provider = provider

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        form = await _form(request)
        if form is None:
            return
        token = form.get("token") or request.query_params.get("token")
        grant = self._provider.grants.owner(token)
        if not token:
            message = "Missing required parameter: token"
            answer = wire.token_error(400, "invalid_request", message)
        elif grant is None or grant.revoked:
            answer = wire.token_error(400, "invalid_token", "Token expired or revoked")
        else:
            self._provider.grants.revoke(grant)
            answer = wire.token_answer(200, {})
        await transport.whole(answer)(scope, receive, send)


class EventsEndpoint:
    """`GET /calendar/v3/calendars/{calendar_id}/events`: events.list."""

    def __init__(self, provider: Provider) -> None:
        self._provider = provider

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        provider = self._provider
        token = _bearer(request)
        grant = provider.grants.owner(token)
        grant_id = grant.grant_id if grant else None
        incremental = "syncToken" in request.query_params
        fault = provider.modes.take_calendar_fault(grant_id, incremental=incremental)
        request.state.mode = outcome = str(fault.mode) if fault else "normal"
        decided = provider.judge.calendar_call(grant)
        await asyncio.sleep(provider.modes.latency_seconds("calendar", grant_id))
        response = await faults.stand_in_front(fault, faults.IN_FRONT_OF_CALENDAR, request)
        if response is None:
            try:
                page = self._page(request, token, fault)
            except ListingRefused as refusal:
                outcome = f"refused_{refusal.answer.status}"
                response = transport.whole(refusal.answer)
            else:
                outcome = fault.mode if fault else "success"
                response = faults.deliver(wire.calendar_answer(page), fault)
        decided(outcome)
        await response(scope, receive, send)

    def _page(self, request: Request, token: str | None, fault: CalendarFault | None) -> Body:
        """Google's checks in Google's order, then the page. Raises ListingRefused."""
        if token is None:
            raise ListingRefused(wire.LOGIN_REQUIRED)
        grant = self._provider.grants.authenticate(token)
        if grant is None:
            raise ListingRefused(wire.AUTH_ERROR)
        if not set(grant.scopes) & set(wire.CALENDAR_SCOPES):
            raise ListingRefused(wire.INSUFFICIENT_PERMISSIONS)
        if request.path_params["calendar_id"] not in {PRIMARY, grant.user}:
            raise ListingRefused(wire.NOT_FOUND)
        query = dict(request.query_params)
        followed = 0
        if fault is not None and fault.mode == "endless_pages":
            mark, _, count = query.pop("pageToken", "").rpartition("-")
            followed = int(count) if f"{mark}-" == faults.ENDLESS and count.isdecimal() else 0
        page = list_events(
            self._provider.calendars.open(grant.user),
            query,
            page_events=self._provider.modes.page_events(grant.grant_id),
        )
        page = faults.spoil_page(page, fault, page_number=followed)
        try:
            return selected(page, query["fields"]) if "fields" in query else page
        except ValueError as error:
            raise ListingRefused(wire.invalid_parameter("fields", str(error))) from error


def token_content(tokens: Tokens) -> Body:
    """The body of a successful answer. Without rotation Google sends no refresh token again."""
    content: Body = {
        "access_token": tokens.access_token,
        "expires_in": tokens.expires_in,
        "scope": " ".join(tokens.grant.scopes),
        "token_type": "Bearer",
    }
    if tokens.refresh_token is not None:
        content["refresh_token"] = tokens.refresh_token
    if tokens.refresh_token_expires_in is not None:
        content["refresh_token_expires_in"] = tokens.refresh_token_expires_in
    return content


async def _form(request: Request) -> Mapping[str, str] | None:
    """The form of a call; empty when it is none; None when the client left in the middle of it."""
    try:
        body = await request.body()
    except ClientDisconnect:
        return None
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/x-www-form-urlencoded":
        return {}
    return dict(parse_qsl(body.decode("utf-8", "replace")))


def _required(form: Mapping[str, str], name: str) -> str:
    if not form.get(name):
        raise refused(400, "invalid_request", f"Missing required parameter: {name}")
    return form[name]


def _bearer(request: Request) -> str | None:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" and token.strip() else None
