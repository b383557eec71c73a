"""The service that is loaded and broken: what its `firedrill.toml` says, and of the demo what only code can.

Nothing else names its routes, tables or users. Who the callers of the file are, `traffic.callers` knows.
"""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from firedrill_kit.config import FILE, Config, ConfigError, Route, filled, read
from firedrill_kit.config.traffic import CALLERS
from loadtests.world.errors import CannotRunError
from stack.demo import email_of, password_of
from stack.described import read_described
from stack.settings import ROOT, SettingsError


class RefusedError(CannotRunError):
    """The service has no port for what is asked; the text names the key of its file, and the remedy."""


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

    service: its file. environment: with the variables that stand in the file for secrets.
    """

    service: Config = field(repr=False)
    environment: Mapping[str, str] = field(default_factory=lambda: os.environ, repr=False)

    @property
    def is_demo(self) -> bool:
        return False

    @property
    def name(self) -> str:
        return self.service.service.name

    @cached_property
    def routes(self) -> Mapping[str, Route]:
        """The routes of the mix by `METHOD template`."""
        return self.service.routes

    @property
    def versions(self) -> tuple[str, ...]:
        """As its clients name themselves, an equal share of the requests each; empty: they do not."""
        return self.service.load.versions

    @property
    def users(self) -> int:
        """How many accounts send load."""
        return self.service.load.accounts

    @property
    def session_name(self) -> str:
        """The application name of its connections to PostgreSQL; empty where the file has none."""
        database = self.service.database
        return (database and database.application_name) or ""

    @property
    def tables(self) -> frozenset[str]:
        """The tables that a fault may lock."""
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

    @property
    def sign_in_route(self) -> str:
        """The route that gives a token; empty where there is none."""
        return (self.service.client and self.service.client.sign_in) or ""

    def sends_form(self, route: str) -> bool:
        """Whether the body of a route is a form, and not JSON: that of the sign-in alone may be one."""
        client = self.service.client
        return client is not None and client.form is not None and route == client.sign_in

    def sign_in_body(self, number: int) -> object:
        """What the account of this number, from 1, sends to sign in. Raises MissingVariableError."""
        client = self.service.client
        body = client and (client.json_body if client.form is None else client.form)
        if isinstance(body, dict):
            body = body | self.service.load.credentials
        return filled(body, self.environment, n=number)

    @property
    def lock(self) -> tuple[str, Mapping[str, float]]:
        """The table of the first [[drill]] that locks one, and its load. Raises RefusedError."""
        for drill in self.service.drills:
            if drill.breaks.lock:
                return drill.breaks.lock, drill.load
        raise RefusedError(
            "drill: nothing says which table to lock; add a [[drill]] with break = {lock = "
            '"TABLE"} and the load that waits for it'
        )

    @property
    def admin_dsn(self) -> str:
        """The database's address with a role that may lock and end sessions.

        Raises RefusedError, MissingVariableError.
        """
        database = self.service.database
        if not (database and database.admin_dsn):
            raise RefusedError(
                "database.admin_dsn: nothing says how to reach the database; add"
                ' admin_dsn = "$FIREDRILL_ADMIN_DSN"'
            )
        return database.admin_dsn.read(self.environment)

    @property
    def slow_seconds(self) -> float:
        """What is slower is not normal: the promise of [slo], else the longest deadline."""
        load = self.service.load
        return self.service.slo.fast_within or max(load.deadline.read, load.deadline.write)

    def check_load(self) -> None:
        """Raises RefusedError where the file does not say enough to send anything."""
        if not sum(self.steady_mix.values()):
            raise RefusedError(
                'load.mix: nothing would be sent; add routes, as in "GET /items/" = 5'
            )
        for name, route in self.routes.items():
            if not self.is_demo and route.caller not in CALLERS:
                raise RefusedError(
                    f'load.mix."{name}".caller: nothing here makes a caller "{route.caller}"; write'
                    f" one of {', '.join(CALLERS)}"
                )


@dataclass(frozen=True)
class Demo(Description):
    """The demo. Of its users, those with an odd number have a calendar.

    accounts: statement that gives id, email and role. expire_grants: statement after which every access
    token of the provider is due. program, drill_program, plain_program: as in `python -m`: as shipped, with
    routes that break it, and without its resilience.
    """

    accounts = "SELECT id, email, role::text FROM accounts"
    expire_grants = "UPDATE oauth_grants SET expires_at = now()"
    program = "service"
    drill_program = "loadtests.world.drill_app"
    plain_program = "loadtests.world.plain_app"

    @property
    def is_demo(self) -> bool:
        return True

    @property
    def slow_seconds(self) -> float:
        """The latency objective of every class but those that wait for the provider."""
        return 0.25

    @staticmethod
    def email_of(number: int) -> str:
        """number: from 1."""
        return email_of(number)

    def sign_in_body(self, number: int) -> dict[str, str]:
        return {"username": email_of(number), "password": password_of(number)}


def _demo() -> Demo:
    """The file is part of the repository: a program that needs it says what is wrong, and ends."""
    try:
        return Demo(read(ROOT / FILE))
    except ConfigError as error:
        print(error, file=sys.stderr)
        raise SystemExit(2) from None


def _served() -> Description:
    """The service that SERVICE names; as above, a wrong file ends the program."""
    try:
        described = read_described(os.environ)
    except SettingsError as error:
        print(error, file=sys.stderr)
        raise SystemExit(2) from None
    return DEMO if described.is_demo else Description(described.config)


DEMO = _demo()
SERVED = _served()
"""The service that load and drills of this process are for: the demo, or the one that SERVICE names."""
