"""How the provider misbehaves: what `POST /_control` accepts, and what holds for a call.

A setting for one grant beats the setting for all. A fault that carries `times` is used up call by
call and then what it hid holds again. The models are the documentation of the control endpoint: a
request that does not fit is answered from them with what would.
"""

from dataclasses import replace
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from stack.provider.grants import Rotation, Terms
from stack.provider.oddities import ODD_EVENTS

TokenMode = Literal[
    "normal",
    "invalid_grant",
    "invalid_client",
    "unauthorized_client",
    "deleted_client",
    "disabled_client",
    "admin_policy_enforced",
    "access_denied",
    "error_429",
    "error_500",
    "error_503",
    "hang",
    "close",
    "reset",
    "html",
    "lost_response",
    "slow_drip",
    "cut_body",
    "truncated_json",
    "wrong_types",
    "no_access_token",
    "reduced_scope",
    "altered",
]
CalendarMode = Literal[
    "normal",
    "unauthorized",
    "insufficient_permissions",
    "not_a_calendar_user",
    "domain_policy",
    "access_not_configured",
    "user_rate_limit_exceeded",
    "rate_limit_exceeded",
    "rate_limit_exceeded_429",
    "rate_limit_exceeded_per_user",
    "rate_limit_exceeded_unnamed",
    "quota_exceeded",
    "daily_limit_exceeded",
    "error_429",
    "error_500",
    "error_503",
    "hang",
    "close",
    "reset",
    "html",
    "gone",
    "slow_drip",
    "cut_body",
    "truncated_json",
    "wrong_types",
    "huge",
    "odd_events",
    "altered",
    "no_sync_token",
    "duplicate_ids",
    "endless_pages",
]

_PARAMETERS = {
    "seconds": {"hang", "slow_drip"},
    "retry_after_seconds": {
        *("error_429", "error_503", "user_rate_limit_exceeded", "quota_exceeded"),
        *("rate_limit_exceeded", "rate_limit_exceeded_429", "rate_limit_exceeded_per_user"),
        *("rate_limit_exceeded_unnamed", "daily_limit_exceeded"),
    },
    "megabytes": {"huge"},
    "kinds": {"odd_events"},
    "fields": {"altered"},
    "without": {"altered"},
}
"""Which modes each parameter means something to."""

_STRICT = ConfigDict(extra="forbid", strict=True)


class Fault(BaseModel):
    model_config = _STRICT

    mode: str
    times: int | None = Field(None, ge=1, description="so many calls, then no longer; default: on")
    seconds: float = Field(
        30.0,
        ge=0,
        le=3600,
        description="hang: before going on; slow_drip: to spread the body over",
    )
    retry_after_seconds: int | None = Field(
        None, ge=0, le=86400, description="Retry-After; default: 5 with error_429, none else"
    )
    megabytes: int = Field(50, ge=1, le=1000, description="huge: size of the body")

    fields: dict[str, Any] = Field(
        default_factory=dict, description="altered: members that the answer gets"
    )
    without: list[str] = Field(
        default_factory=list, description="altered: members that the answer lacks"
    )
    kinds: list[str] = Field(
        default_factory=list,
        description=f"odd_events: which, of {', '.join(ODD_EVENTS)}; default: one of each",
    )

    @model_validator(mode="after")
    def _only_what_applies(self) -> Self:
        for name, modes in _PARAMETERS.items():
            if name in self.model_fields_set and self.mode not in modes:
                raise ValueError(f"{name} applies to {', '.join(sorted(modes))} only")
        if unknown := set(self.kinds) - ODD_EVENTS.keys():
            raise ValueError(f"kinds: there is no {', '.join(sorted(unknown))}")
        return self


class TokenFault(Fault):
    mode: TokenMode


class CalendarFault(Fault):
    mode: CalendarMode


class Control(BaseModel):
    """One request to change the provider's behaviour; what it leaves out stays as it is."""

    model_config = _STRICT

    grant: str | None = Field(None, description="id of the grant it holds for; default: all")
    reset: bool = Field(
        default=False,
        description="first back to how it was started (of the grant, if one is named)",
    )
    token: TokenFault | None = Field(None, description="fault at the token endpoint")
    calendar: CalendarFault | None = Field(None, description="fault at the calendar")
    token_latency_ms: float | None = Field(None, ge=0, le=60_000, description="added to each call")
    calendar_latency_ms: float | None = Field(
        None, ge=0, le=60_000, description="added to each call"
    )
    page_events: int | None = Field(
        None, ge=1, le=2500, description="events of a page at most, whatever is asked for"
    )
    rotation: Rotation | None = Field(None, description="of refresh tokens")
    grace_seconds: float | None = Field(
        None, ge=0, description="rotation grace: how long the previous refresh token is accepted"
    )
    expires_in: int | None = Field(None, ge=0, description="life of an access token in seconds")
    refresh_token_expires_in: int | None = Field(
        None, ge=0, description="life of a refresh token in seconds; default: without end"
    )


_TERMS = ("rotation", "grace_seconds", "expires_in", "refresh_token_expires_in")
_SCOPED = ("token", "calendar", "token_latency_ms", "calendar_latency_ms", "page_events", *_TERMS)
_ALL = ""


class Modes:
    """What holds now, for all and per grant."""

    def __init__(self, terms: Terms) -> None:
        """terms: how the provider was started."""
        self._terms = terms
        self._settings: dict[str, dict[str, Any]] = {}

    def apply(self, control: Control) -> None:
        if control.reset and control.grant is None:
            self._settings.clear()
        scope = control.grant or _ALL
        if control.reset:
            self._settings.pop(scope, None)
        given = {name: value for name in _SCOPED if (value := getattr(control, name)) is not None}
        self._settings.setdefault(scope, {}).update(given)

    def take_token_fault(self, grant_id: str | None) -> TokenFault | None:
        """The fault for a call that has just arrived; one of its `times` is gone."""
        fault = self._take("token", grant_id)
        return fault if isinstance(fault, TokenFault) else None

    def take_calendar_fault(
        self, grant_id: str | None, *, incremental: bool
    ) -> CalendarFault | None:
        """incremental: the call brings a sync token; `gone` waits for one that does."""
        fault = self._setting("calendar", grant_id)
        if isinstance(fault, CalendarFault) and fault.mode == "gone" and not incremental:
            return None
        fault = self._take("calendar", grant_id)
        return fault if isinstance(fault, CalendarFault) else None

    def latency_seconds(
        self, endpoint: Literal["token", "calendar"], grant_id: str | None
    ) -> float:
        milliseconds = self._setting(f"{endpoint}_latency_ms", grant_id)
        return float(milliseconds or 0.0) / 1000

    def page_events(self, grant_id: str | None) -> int | None:
        """How many events a page has at most; None for as many as are asked for."""
        limit: int | None = self._setting("page_events", grant_id)
        return limit

    def terms(self, grant_id: str | None) -> Terms:
        given = {name: self._setting(name, grant_id) for name in _TERMS}
        return replace(
            self._terms, **{n: value for n, value in given.items() if value is not None}
        )

    def describe(self) -> dict[str, object]:
        """What has been set, as JSON; what is not listed is as it was started."""
        shown = {
            scope or "all": {
                name: value.model_dump(exclude_unset=True) if isinstance(value, Fault) else value
                for name, value in settings.items()
            }
            for scope, settings in self._settings.items()
            if settings
        }
        return {"all": shown.pop("all", {}), "grants": shown}

    def _scope(self, name: str, grant_id: str | None) -> dict[str, Any]:
        own = self._settings.get(grant_id or _ALL, {})
        return own if name in own else self._settings.get(_ALL, {})

    def _setting(self, name: str, grant_id: str | None) -> Any:
        return self._scope(name, grant_id).get(name)

    def _take(self, name: str, grant_id: str | None) -> Fault | None:
        scope = self._scope(name, grant_id)
        fault = scope.get(name)
        if fault is None or fault.mode == "normal":
            return None
        if fault.times is not None:
            scope[name] = fault.model_copy(update={"times": fault.times - 1})
            if fault.times == 1:
                del scope[name]
        return fault if isinstance(fault, Fault) else None
