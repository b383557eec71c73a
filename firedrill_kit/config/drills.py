"""[[drill]]: what is broken, what must page, and within how long."""

from collections.abc import Mapping
from typing import Literal, Self

from pydantic import Field, model_validator

from firedrill_kit.config.types import (
    Alert,
    Line,
    Name,
    Part,
    Rate,
    RouteName,
    Seconds,
    Section,
    Several,
    Table,
    Version,
)
from firedrill_kit.config.variables import Json


class Latency(Section):
    """A way that has become slow.

    ```toml
    [[drill]]
    name = "latency_to_database"
    break = {latency = {to = "database", seconds = 0.06}}
    pages = ["DbRoundTripSlow"]
    within = 90
    ```
    """

    to: Name
    """`database`, or an upstream."""
    seconds: Seconds
    """What each chunk waits there, in each direction."""


class BrokenRelease(Section):
    """Clients that send what the service does not know.

    ```toml
    [[drill]]
    name = "validation_break_all_clients"
    break = {send = {bodies = {"POST /api/v1/items/" = {titel = "load"}}}}
    pages = ["ApiValidationBroken"]
    within = 120
    ```
    """

    bodies: Mapping[RouteName, Json] = Field(min_length=1)
    """What they send in place of the mix, by route."""
    versions: Several[Version] = ()
    """Those of [load] `versions` that send it; without this, all."""


class Break(Section):
    """What a drill breaks: exactly one of these.

    ```toml
    [[drill]]
    name = "payments_blackholed"
    break = {blackhole = "payments"}
    pages = ["ApiErrorBudgetBurn"]
    within = 150
    ```
    """

    lock: Table | None = None
    """ACCESS EXCLUSIVE on a table, held by another session as a forgotten migration holds it."""
    kill_connections: Seconds | None = None
    """Every connection of the service to the database is ended, again and again after so many seconds."""
    blackhole: Name | None = None
    """Nothing moves on the way to the `database` or an upstream, and nobody notices; needs its `proxy`."""
    refuse: Name | None = None
    """The way to it refuses connections and resets those that are open; needs its `proxy`."""
    latency: Latency | None = None
    """The way to it is slow; needs its `proxy`."""
    stop: Part | None = None
    """A replica is killed, and started again at the end; needs [process]."""
    freeze: Part | None = None
    """A replica is stopped while it holds its port (SIGSTOP); needs [process]."""
    send: BrokenRelease | None = None
    """A broken release of clients."""
    nothing: Literal[True] | None = None
    """`true`: nothing is broken, and nothing may page."""

    @property
    def kind(self) -> str:
        return next(iter(self.model_fields_set))

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        if len(self.model_fields_set) != 1:
            kinds = ", ".join(type(self).model_fields)
            raise ValueError(f"a drill breaks exactly one thing; write one of {kinds}")
        return self


class Drill(Section):
    """A fault, and the pages that must come of it. One that names neither pages nor tickets must stay silent.

    ```toml
    [[drill]]
    name = "db_pool_exhausted"
    break = {lock = "orders"}
    load = {"GET /api/v1/users/me" = 25}
    pages = ["DbPoolExhausted"]
    within = 60
    ```
    """

    name: Name
    """What `make drill NAME=` calls it."""
    what: Line | None = None
    """One sentence for the report."""
    breaks: Break = Field(alias="break")
    """What is broken, as below."""
    load: Mapping[RouteName, Rate] = Field(default_factory=dict)
    """Requests a second of some routes of the mix while it lasts, in place of theirs."""
    pages: Several[Alert] = ()
    """Alerts that must page, one page each."""
    tickets: Several[Alert] = ()
    """Alerts that must make a ticket."""
    also: Several[Alert] = ()
    """Alerts that may come with them."""
    within: Seconds | None = None
    """Seconds from the break to the last page or ticket."""
    resolves_within: Seconds = 120.0
    """Seconds from the mend until every page is resolved."""
    holds: float = Field(0.0, ge=0)
    """Seconds for which the fault lasts at least; a silent drill lasts for so long."""

    @property
    def is_silent(self) -> bool:
        return not (self.pages or self.tickets)
