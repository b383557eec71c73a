"""The service that is loaded and broken, described once: nothing else names its routes, tables or users."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from stack.demo import USERS, email_of, password_of

Caller = Literal[
    "anybody", "account", "connected", "connecting", "signing_in", "session", "leaving"
]
"""Who asks for a route.

anybody     without a token
account     any of the accounts, with its token
connected   an account with a calendar
connecting  an account without one, with a code of the provider, which is good once
signing_in  a user with e-mail address and password
session     a browser that is signed in
leaving     a browser's session that ends with the request
"""


@dataclass(frozen=True)
class Route:
    """One route of the contract.

    rate: requests a second in the mix. deadline_seconds: within which the contract promises an answer.
    needs: the parts and tables without which it cannot be served. path: where the template has
    parameters. body: what a well-behaved client sends as JSON.
    """

    rate: float = 0.0
    deadline_seconds: float = 2.0
    caller: Caller = "account"
    needs: frozenset[str] = frozenset()
    path: str = ""
    body: object = None

    @property
    def uses_up(self) -> bool:
        """Whether each request needs something made for it before the clock starts."""
        return self.caller in {"leaving", "connecting"}


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

    routes: by `METHOD template`. versions: as its clients name themselves, an equal share of the
    requests each. users: how many demo users there are, with numbers from 1; those with an odd number
    have a calendar. session_name: the application name of its connections to PostgreSQL. tables: those
    that a fault may lock. accounts: statement that gives id, email and role. expire_grants: statement
    after which every access token of the provider is due. program, drill_program, plain_program: as in
    `python -m`: as shipped, with routes that break it, and without its resilience.
    """

    routes: Mapping[str, Route]
    versions: tuple[str, ...]
    users: int
    email_of: Callable[[int], str]
    password_of: Callable[[int], str] = field(repr=False)
    session_name: str
    tables: frozenset[str]
    accounts: str
    expire_grants: str
    program: str
    drill_program: str
    plain_program: str

    @property
    def mix(self) -> dict[str, float]:
        """Requests a second by route."""
        return {name: route.rate for name, route in self.routes.items()}

    @property
    def steady_mix(self) -> dict[str, float]:
        """The mix without the routes that use something up."""
        return {name: one.rate for name, one in self.routes.items() if not one.uses_up}

    def route(self, name: str) -> Route:
        """A route by `METHOD template`; one that is not in the contract is read with a token."""
        return self.routes.get(name, Route())

    def unrelated_to(self, need: str) -> frozenset[str]:
        """The routes that must not notice when a part or a table is away."""
        return frozenset(name for name, route in self.routes.items() if need not in route.needs)


_READ, _WRITE, _LOGIN, _CALENDAR = 2.0, 3.0, 5.0, 15.0
_DATABASE = frozenset({"database"})
_PROFILES = _DATABASE | {"profiles"}
_SETTINGS = _DATABASE | {"settings"}
_PROVIDER = _DATABASE | {"provider"}

DEMO = Description(
    # 40 requests a second in all; every route of the contract is in it.
    routes={
        "GET /api/v1/profile": Route(9, _READ, needs=_PROFILES),
        "PUT /api/v1/profile": Route(
            3,
            _WRITE,
            needs=_PROFILES,
            body={"display_name": "Demo User", "time_zone": "Europe/Berlin", "bio": "x" * 200},
        ),
        "GET /api/v1/settings": Route(7, _READ, needs=_SETTINGS),
        "PUT /api/v1/settings": Route(
            3,
            _WRITE,
            needs=_SETTINGS,
            body={
                "theme": "dark",
                "ai_models": {
                    "default": "small",
                    "models": {
                        "small": {"provider": "someone", "model": "m-1", "temperature": 0.2}
                    },
                },
            },
        ),
        "GET /api/v1/calendar/connection": Route(2, _READ, needs=_DATABASE),
        "PUT /api/v1/calendar/connection": Route(1, _WRITE, "connecting", _PROVIDER),
        # Served from what the last synchronisation stored: the provider is not asked.
        "GET /api/v1/calendar/events": Route(5, _READ, needs=_DATABASE),
        "POST /api/v1/calendar/sync/auto": Route(3, _CALENDAR, "connected", _PROVIDER),
        "POST /api/v1/auth/token": Route(1, _LOGIN, "signing_in", _DATABASE),
        "GET /api/v1/auth/csrf": Route(1, _READ, "session", _DATABASE),
        "POST /api/v1/auth/logout": Route(0.5, _WRITE, "leaving", _DATABASE),
        "GET /problems/{code}": Route(4.5, _READ, "anybody", path="/problems/not_found"),
    },
    versions=("web/1.8", "web/1.9", "ios/3.2"),
    users=USERS,
    email_of=email_of,
    password_of=password_of,
    session_name="firedrill-api",
    tables=frozenset({"profiles", "settings", "accounts"}),
    accounts="SELECT id, email, role::text FROM accounts",
    expire_grants="UPDATE oauth_grants SET expires_at = now()",
    program="service",
    drill_program="loadtests.world.drill_app",
    plain_program="loadtests.world.plain_app",
)
