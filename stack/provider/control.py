"""The endpoints that Google does not have: minting, changing, misbehaving, judging. Their paths
start with an underscore. A request that does not fit is a 400 that names each problem and all that
is allowed.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Literal, TypeVar, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.fields import FieldInfo
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from stack.provider import wire
from stack.provider.google import Provider, token_content
from stack.provider.grants import Grant
from stack.provider.modes import CalendarFault, Control, TokenFault

DEFAULT_SCOPES = ["https://www.googleapis.com/auth/calendar.readonly"]

_STRICT = ConfigDict(extra="forbid", strict=True)

Model = TypeVar("Model", bound=BaseModel)


class NewGrant(BaseModel):
    """A consent of a user: with tokens, or with an authorization code that is still to be
    exchanged.
    """

    model_config = _STRICT

    user: str | None = Field(
        None, min_length=1, max_length=200, description="whose calendar; default: a new user"
    )
    scopes: list[str] = Field(DEFAULT_SCOPES, min_length=1, description="scopes granted")
    events: int = Field(
        25, ge=0, le=20_000, description="events of the calendar, if the user has none yet"
    )
    authorization_code: bool = Field(
        default=False, description="true: answer with a code instead of tokens"
    )
    expires_in: int | None = Field(
        None,
        ge=0,
        description="life of this grant's access tokens in seconds, whatever POST /_control says",
    )
    redirect_uri: str | None = Field(
        None, description="the only one the code may be exchanged with; default: any"
    )


class GrantChoice(BaseModel):
    model_config = _STRICT

    grant: str | None = Field(None, description="id of the grant; default: all")


class EventChanges(BaseModel):
    """Creations first, then updates, then deletions, of the events unchanged for longest."""

    model_config = _STRICT

    grant: str = Field(description="id of a grant of the calendar's user")
    create: int = Field(0, ge=0, le=20_000, description="how many")
    update: int = Field(0, ge=0, le=20_000, description="how many, as far as there are any")
    delete: int = Field(0, ge=0, le=20_000, description="how many, as far as there are any")
    invalidate_sync_tokens: bool = Field(
        default=False, description="true: sync tokens given out so far get 410 fullSyncRequired"
    )


class BadRequest(Exception):
    """The request does not fit; content: the body of the 400."""

    def __init__(self, problems: list[str], allowed: Mapping[str, object]) -> None:
        super().__init__("; ".join(problems))
        self.content = {"error": "bad_request", "problems": problems, "allowed": allowed}


def routes(provider: Provider) -> list[Route]:
    def route(
        path: str, method: str, endpoint: Callable[[Provider, Request], Awaitable[Response]]
    ) -> Route:
        async def answer(request: Request) -> Response:
            try:
                return await endpoint(provider, request)
            except BadRequest as refusal:
                return _json(refusal.content, 400)

        return Route(path, answer, methods=[method])

    return [
        route("/_grants", "POST", mint_grant),
        route("/_events", "POST", change_events),
        route("/_expire", "POST", expire_access_tokens),
        route("/_control", "GET", show_control),
        route("/_control", "POST", control),
        route("/_judge", "GET", judge),
        route("/_judge/reset", "POST", reset_judge),
    ]


async def mint_grant(provider: Provider, request: Request) -> Response:
    wanted = await _parsed(request, NewGrant)
    if wanted.redirect_uri is not None and not wanted.authorization_code:
        raise BadRequest(["redirect_uri: goes with authorization_code only"], _allowed(NewGrant))
    grant, code = provider.grants.consent(
        user=wanted.user,
        scopes=wanted.scopes,
        redirect_uri=wanted.redirect_uri,
        expires_in=wanted.expires_in,
    )
    provider.calendars.open(grant.user, initial_events=wanted.events)
    minted: dict[str, object] = {"grant": grant.grant_id, "user": grant.user}
    if wanted.authorization_code:
        minted |= {"authorization_code": code, "scope": " ".join(grant.scopes)}
    else:
        terms = provider.modes.terms(grant.grant_id)
        minted |= token_content(provider.grants.exchange(code, redirect_uri="", terms=terms))
    return _json(minted, 201)


async def change_events(provider: Provider, request: Request) -> Response:
    wanted = await _parsed(request, EventChanges)
    grant = _grant(provider, wanted.grant, EventChanges)
    calendars, calendar = provider.calendars, provider.calendars.open(grant.user)
    # Chosen before any change is made, so that one call never deletes what it has just created.
    stalest = calendar.stalest(wanted.update + wanted.delete)
    updated, deleted = stalest[: wanted.update], stalest[wanted.update :]
    created = [calendars.change(calendar, "create") for _ in range(wanted.create)]
    for event_id in updated:
        calendars.change(calendar, "update", event_id)
    for event_id in deleted:
        calendars.change(calendar, "delete", event_id)
    if wanted.invalidate_sync_tokens:
        calendars.change(calendar, "invalidate")
    return _json({"created": created, "updated": updated, "deleted": deleted})


async def expire_access_tokens(provider: Provider, request: Request) -> Response:
    chosen = await _parsed(request, GrantChoice)
    chosen_id, everyone = chosen.grant, provider.grants.all()
    grants = [_grant(provider, chosen_id, GrantChoice)] if chosen_id else everyone
    return _json({"expired": sum(provider.grants.expire(grant) for grant in grants)})


async def show_control(provider: Provider, _request: Request) -> Response:
    return _json({**provider.modes.describe(), "allowed": _allowed(Control)})


async def control(provider: Provider, request: Request) -> Response:
    wanted = await _parsed(request, Control)
    if wanted.grant is not None:
        _grant(provider, wanted.grant, Control)
    provider.modes.apply(wanted)
    return _json(provider.modes.describe())


async def judge(provider: Provider, _request: Request) -> Response:
    return _json(provider.judge.verdict(provider.grants.all()))


async def reset_judge(provider: Provider, _request: Request) -> Response:
    provider.judge.reset()
    return _json({"reset": True})


async def _parsed(request: Request, model: type[Model]) -> Model:
    """The body as the model; an empty body is an empty object. Raises BadRequest."""
    try:
        return model.model_validate_json(await request.body() or b"{}")
    except ValidationError as error:
        problems = [
            ": ".join(
                [
                    ".".join(map(str, found["loc"])) or "body",
                    found["msg"].removeprefix("Value error, "),
                ]
            )
            for found in error.errors(include_url=False, include_input=False)
        ]
        raise BadRequest(problems, _allowed(model)) from error


def _grant(provider: Provider, grant_id: str, model: type[BaseModel]) -> Grant:
    grant = provider.grants.get(grant_id)
    if grant is None:
        problem = "grant: there is none of this id; POST /_grants mints one and says its id"
        raise BadRequest([problem], _allowed(model))
    return grant


def _allowed(model: type[BaseModel]) -> dict[str, object]:
    """Each field with what it is for, and what its own fields or values may be."""
    allowed: dict[str, object] = {}
    for name, field in model.model_fields.items():
        allowed[name] = (
            _NESTED.get(name) if model is Control and name in _NESTED else _field(field)
        )
    return allowed


def _field(field: FieldInfo) -> str | list[str]:
    values = [str(value) for value in _literals(field.annotation)]
    return values or field.description or ""


def _literals(annotation: object) -> list[object]:
    """The values of a Literal, also of an optional one."""
    if get_origin(annotation) is Literal:
        return list(get_args(annotation))
    return [value for part in get_args(annotation) for value in _literals(part)]


def _json(content: object, status: int = 200) -> Response:
    return Response(wire.json_body(content), status, media_type="application/json")


_NESTED = {"token": _allowed(TokenFault), "calendar": _allowed(CalendarFault)}
