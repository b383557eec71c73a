"""The whole file: its sections, and what is read out of several of them together."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from pydantic import Field

from firedrill_kit.config.drills import Drill
from firedrill_kit.config.objectives import Slo, SloClass, slo_classes
from firedrill_kit.config.sections import (
    Database,
    Links,
    Process,
    Runbooks,
    Scope,
    Service,
    Upstream,
)
from firedrill_kit.config.traffic import ACCOUNT, ANYBODY, Client, Load, Probe, Request
from firedrill_kit.config.types import Name, Section, Several


@dataclass(frozen=True)
class Route:
    """One route, with all that the file leaves to its defaults.

    rate: requests a second in the mix. deadline_seconds: within which an answer is promised. needs: the
    parts and tables without which it cannot be served. path: what is asked for, parameters filled in.
    body: what a well-behaved client sends as JSON, before `variables.filled`. uses_up: whether each
    request needs something made for it before the clock starts.
    """

    rate: float
    deadline_seconds: float
    caller: str
    path: str
    needs: frozenset[str] = frozenset()
    body: object = field(default=None, repr=False)
    uses_up: bool = False


class Config(Section):
    """One FastAPI service: what it is called, what it promises, and how it is asked, loaded and broken."""

    service: Service
    """What the service is called and where it is."""
    slo: Slo = Field(default_factory=Slo)
    """What its routes are promised."""
    scope: Scope = Field(default_factory=Scope)
    """What pages of it have in common."""
    links: Links = Field(default_factory=Links)
    """Where the links of a page lead."""
    runbooks: Runbooks = Field(default_factory=Runbooks)
    """Commands that runbooks name."""
    client: Client | None = None
    """How callers sign in."""
    probe: Probe = Field(default_factory=Probe)
    """What the prober asks for."""
    load: Load = Field(default_factory=Load)
    """What is sent."""
    database: Database | None = None
    """What of its database may be broken."""
    upstream: Mapping[Name, Upstream] = Field(default_factory=dict)
    """The other services that it calls, by name."""
    process: Process | None = None
    """How it is started."""
    drills: Several[Drill] = Field((), alias="drill")
    """What is broken to prove the alerts."""

    @property
    def slo_classes(self) -> tuple[SloClass, ...]:
        return slo_classes(self.slo)

    @property
    def routes(self) -> dict[str, Route]:
        """The routes of the mix by `METHOD template`, in the order of the file."""
        return {name: self.route(name) for name in self.load.mix}

    @property
    def probes(self) -> dict[str, Route]:
        """What the prober asks for, by `METHOD template`, in the order of the file."""
        return {name: self.route(name) for name in self.probe.routes}

    @property
    def lockable(self) -> frozenset[str]:
        """Tables that a fault may lock: those of [database], and those that a drill names itself."""
        tables = self.database.tables if self.database else ()
        return frozenset(tables) | {
            drill.breaks.lock for drill in self.drills if drill.breaks.lock
        }

    def route(self, name: str) -> Route:
        """A route by `METHOD template`; one that the mix does not have is read as its defaults."""
        asked = self.load.mix.get(name) or Request()
        caller = asked.caller or (ACCOUNT if self.client else ANYBODY)
        kind = self.load.caller.get(caller)
        return Route(
            rate=asked.rate,
            deadline_seconds=asked.deadline or self.load.deadline.of(name),
            caller=caller,
            path=asked.path or name.partition(" ")[2],
            needs=frozenset(asked.needs),
            body=asked.json_body,
            uses_up=kind is not None and kind.uses_up,
        )
