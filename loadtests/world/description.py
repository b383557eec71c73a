"""The service that is loaded and broken: what `firedrill.toml` says of it, and what only code can say.

Nothing else names its routes, tables or users. Who the callers of the file are, `traffic.callers` knows.
"""

import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from firedrill_kit.config import FILE, Config, ConfigError, Route, read
from stack.demo import email_of, password_of
from stack.settings import ROOT


@dataclass(frozen=True)
class Release:
    """A broken release of clients: what they send otherwise than the contract says.

    bodies: by route. headers: of every request that carries a token. versions: those that do so;
    None: all.
    """

    bodies: Mapping[str, object] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    versions: frozenset[str] | None = None

    def is_of(self, version: str) -> bool:
        return self.versions is None or version in self.versions


@dataclass(frozen=True)
class Description:
    """A service under test.

    service: its file. routes: of the mix, by `METHOD template`. email_of, password_of: of a user, by
    number from 1; those with an odd number have a calendar. accounts: statement that gives id, email and
    role. expire_grants: statement after which every access token of the provider is due. program,
    drill_program, plain_program: as in `python -m`: as shipped, with routes that break it, and without
    its resilience.
    """

    service: Config = field(repr=False)
    routes: Mapping[str, Route]
    email_of: Callable[[int], str]
    password_of: Callable[[int], str] = field(repr=False)
    accounts: str
    expire_grants: str
    program: str
    drill_program: str
    plain_program: str

    @property
    def versions(self) -> tuple[str, ...]:
        """As its clients name themselves, an equal share of the requests each."""
        return self.service.load.versions

    @property
    def users(self) -> int:
        """How many demo users send load."""
        return self.service.load.accounts

    @property
    def session_name(self) -> str:
        """The application name of its connections to PostgreSQL; empty where the file has none."""
        database = self.service.database
        return (database and database.application_name) or ""

    @property
    def tables(self) -> frozenset[str]:
        """Those that a fault may lock."""
        return self.service.lockable

    @property
    def unrelated(self) -> str:
        """The route that needs no connection of the pool; empty where the file has none."""
        return self.service.load.unrelated or ""

    @property
    def mix(self) -> dict[str, float]:
        """Requests a second by route."""
        return {name: route.rate for name, route in self.routes.items()}

    @property
    def steady_mix(self) -> dict[str, float]:
        """The mix without the routes that use something up."""
        return {name: one.rate for name, one in self.routes.items() if not one.uses_up}

    def route(self, name: str) -> Route:
        """A route by `METHOD template`; one that is not in the mix is read with a token."""
        return self.routes.get(name) or self.service.route(name)

    def unrelated_to(self, need: str) -> frozenset[str]:
        """The routes that must not notice when a part or a table is away."""
        return frozenset(name for name, route in self.routes.items() if need not in route.needs)


def _service() -> Config:
    """The file is part of the repository: a program that needs it says what is wrong, and ends."""
    if os.environ.get("SERVICE"):
        print("SERVICE is set, and load and drills know the demo alone: unset it", file=sys.stderr)
        raise SystemExit(2)
    try:
        return read(ROOT / FILE)
    except ConfigError as error:
        print(error, file=sys.stderr)
        raise SystemExit(2) from None


_SERVICE = _service()

DEMO = Description(
    service=_SERVICE,
    routes=_SERVICE.routes,
    email_of=email_of,
    password_of=password_of,
    accounts="SELECT id, email, role::text FROM accounts",
    expire_grants="UPDATE oauth_grants SET expires_at = now()",
    program="service",
    drill_program="loadtests.world.drill_app",
    plain_program="loadtests.world.plain_app",
)
