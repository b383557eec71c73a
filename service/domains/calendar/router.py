"""The caller's calendar over HTTP: its connection, its synchronisation, the events it left."""

from typing import Annotated, Any, Literal

from fastapi import Depends, Query, Request
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from service import failures
from service.domains.calendar import operations, sync
from service.domains.calendar.grants import Grants
from service.domains.calendar.operations import Connection
from service.metrics import PROVIDER
from service.problems import problems
from service.provided import provided
from service.schemas import Model, Text, router
from service.security import Work
from service.upstream import CalendarProvider

routes = router("/api/v1/calendar", "calendar")


async def _provider(request: Request) -> CalendarProvider:
    return provided(request, CalendarProvider)


async def _grants(request: Request) -> Grants:
    return provided(request, Grants)


Provider = Annotated[CalendarProvider, Depends(_provider)]
CalendarGrants = Annotated[Grants, Depends(_grants)]

_PROVIDER_PROBLEMS = (
    failures.CALENDAR_REAUTH_REQUIRED,
    failures.CALENDAR_SCOPE_MISSING,
    failures.CALENDAR_FORBIDDEN,
    failures.PROVIDER_UNAVAILABLE,
    failures.PROVIDER_TIMEOUT,
    failures.PROVIDER_ERROR,
    failures.PROVIDER_CIRCUIT_OPEN,
    failures.PROVIDER_BAD_RESPONSE,
    failures.PROVIDER_RATE_LIMITED,
    failures.PROVIDER_QUOTA_EXHAUSTED,
    failures.PROVIDER_MISCONFIGURED,
)


Cursor = Annotated[
    str,
    Query(
        max_length=256,
        description="The `next_cursor` of the page before.",
        json_schema_extra={"format": "cursor"},
    ),
]


class ConnectionIn(Model):
    """code: what Google appended to the redirect address; it works once, for ten minutes."""

    code: Annotated[str, Text(min_length=1, max_length=512)]


class ConnectionOut(BaseModel):
    """expires_at: of the access token, which is renewed by itself. reauth_url: where to connect (again)."""

    provider: str
    status: Literal["ok", "scope_missing", "reauth_required", "misconfigured", "not_connected"]
    scope: str | None
    expires_at: AwareDatetime | None
    synced_at: AwareDatetime | None
    reauth_url: str | None


class SyncedOut(BaseModel):
    """How many stored events a sync changed.

    full_resync: everything was asked for anew. complete: false when there was more than fits into one
    request; what came is kept, and the next sync goes on there.
    """

    model_config = ConfigDict(from_attributes=True)

    created: int
    updated: int
    deleted: int
    full_resync: bool
    complete: bool


class EventOut(BaseModel):
    """A whole day (`all_day`) starts and ends at midnight UTC."""

    model_config = ConfigDict(from_attributes=True)

    id: int
    provider_event_id: str
    status: str
    summary: str | None
    starts_at: AwareDatetime
    ends_at: AwareDatetime
    all_day: bool


class EventsOut(BaseModel):
    """next_cursor: for the next page; null on the last one."""

    model_config = ConfigDict(from_attributes=True)

    events: list[EventOut]
    next_cursor: Annotated[str | None, Field(json_schema_extra={"format": "cursor"})]


@routes.get("/connection", response_model=ConnectionOut, responses=problems())
async def read_connection(work: Work, provider: Provider) -> dict[str, Any]:
    """Return the state of the caller's Google grant."""
    return _answer(await operations.connection_of(work), provider)


@routes.put(
    "/connection",
    response_model=ConnectionOut,
    responses=problems(*_PROVIDER_PROBLEMS, body=True, write=True),
)
async def connect(
    body: ConnectionIn, work: Work, provider: Provider, grants: CalendarGrants
) -> dict[str, Any]:
    """Connect a Google calendar with an authorization code, in place of the one before."""
    return _answer(await sync.connect(work, grants, provider, code=body.code), provider)


@routes.post(
    "/sync/auto",
    response_model=SyncedOut,
    responses=problems(failures.CALENDAR_NOT_CONNECTED, *_PROVIDER_PROBLEMS, write=True),
)
async def synchronise(work: Work, provider: Provider, grants: CalendarGrants) -> sync.Synced:
    """Pull what changed in the caller's calendar since the last time."""
    return await sync.sync(work, grants, provider)


@routes.get("/events", response_model=EventsOut, responses=problems(failures.VALIDATION_FAILED))
async def read_events(
    work: Work,
    cursor: Cursor | None = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 50,
) -> dict[str, Any]:
    """Return the caller's stored events, earliest first."""
    events, next_cursor = await operations.events_page(work, cursor=cursor, limit=limit)
    return {"events": events, "next_cursor": next_cursor}


def _answer(connection: Connection, provider: CalendarProvider) -> dict[str, Any]:
    return {
        "provider": PROVIDER,
        "status": connection.status,
        "scope": connection.scope,
        "expires_at": connection.expires_at,
        "synced_at": connection.synced_at,
        "reauth_url": None if connection.status == "ok" else provider.consent_url,
    }
