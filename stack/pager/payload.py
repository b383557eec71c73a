"""Alertmanager's webhook payload, version 4, as pydantic models: the only way in for a notification.

The newcomer's mistake: a firing alert ends in the year 1 (Go's zero time), which here is None.
"""

from datetime import UTC, datetime
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    AliasChoices,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

Status = Literal["firing", "resolved"]

UNKNOWN = "unknown: Prometheus silent"


def _in_utc(moment: datetime) -> datetime:
    try:
        return moment.astimezone(UTC)
    except OverflowError as error:
        raise ValueError("this moment has no equivalent in UTC") from error


def _none_for_go_zero_time(moment: datetime | None) -> datetime | None:
    return None if moment is None or moment.year == 1 else moment


Moment = Annotated[AwareDatetime, AfterValidator(_in_utc)]


class Alert(BaseModel):
    """One alert of a notification.

    note: UNKNOWN when its resolution is not to be believed. is_news: the group's last notification did
    not say the same of it; set by the store, whatever a body claims.
    """

    model_config = ConfigDict(frozen=True)

    status: Status
    labels: dict[str, str] = Field(min_length=1)
    annotations: dict[str, str] = Field(default_factory=dict)
    starts_at: Moment = Field(validation_alias=AliasChoices("startsAt", "starts_at"))
    ends_at: Annotated[Moment | None, AfterValidator(_none_for_go_zero_time)] = Field(
        default=None, validation_alias=AliasChoices("endsAt", "ends_at")
    )
    note: str | None = None
    is_news: bool = True

    @property
    def name(self) -> str:
        return self.labels.get("alertname", "(no name)")


class Payload(BaseModel):
    """One POST of Alertmanager. Other members are ignored: new versions add some.

    truncated: how many alerts of the group were left out for the receiver's `max_alerts`.
    """

    version: Literal["4"]
    group_key: str = Field(alias="groupKey", min_length=1)
    status: Status
    receiver: str
    alerts: tuple[Alert, ...] = Field(min_length=1)
    truncated: int = Field(default=0, ge=0, alias="truncatedAlerts")

    @model_validator(mode="after")
    def _status_is_that_of_its_alerts(self) -> Self:
        expected = "firing" if any(a.status == "firing" for a in self.alerts) else "resolved"
        # The one that fires may be among those left out.
        if self.status != expected and not (self.truncated and self.status == "firing"):
            raise ValueError(f"status must be {expected}, as its alerts are")
        return self


class InvalidPayload(Exception):
    """The body is not a payload of Alertmanager; the message says where, never what it held."""


def parse(body: bytes) -> Payload:
    """Raises InvalidPayload."""
    try:
        return Payload.model_validate_json(body)
    except ValidationError as error:
        # The first few: an arbitrary document fails in every member at once.
        faults = [_said(fault) for fault in error.errors(include_input=False, include_url=False)]
        more = f" (and {len(faults) - 5} more)" if len(faults) > 5 else ""
        raise InvalidPayload("; ".join(faults[:5]) + more) from error


def _said(fault: Any) -> str:
    where = ".".join(str(part)[:64] for part in fault["loc"]) or "body"
    return f"{where}: {fault['msg']}"
