"""What each route asks the database, exchange by exchange: a row more is a decision, not an accident."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

import httpx
import pytest
from argon2 import PasswordHasher

from service.app import Service
from tests.integration.calendar.conftest import Connected, Google, Owner
from tests.signals import PREPARE, watched_round_trips

PASSWORD = "correct horse battery"
HASH = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(PASSWORD)

EXPECTED: dict[tuple[str, str], list[str]] = {
    ("POST", "/api/v1/auth/token"): [
        "SELECT accounts",
        *("BEGIN", "DELETE sessions", "INSERT sessions", "COMMIT"),
    ],
    ("GET", "/api/v1/auth/csrf"): ["SELECT accounts sessions"],
    ("POST", "/api/v1/auth/logout"): [
        *("BEGIN", "SELECT accounts sessions", "DELETE sessions", "COMMIT"),
    ],
    ("GET", "/api/v1/profile"): ["SELECT accounts profiles"],
    ("PUT", "/api/v1/profile"): ["BEGIN", "SELECT accounts", "INSERT profiles", "COMMIT"],
    ("GET", "/api/v1/settings"): ["SELECT accounts settings"],
    ("PUT", "/api/v1/settings"): ["BEGIN", "SELECT accounts", "INSERT settings", "COMMIT"],
    ("GET", "/api/v1/calendar/connection"): ["SELECT accounts oauth_grants"],
    ("PUT", "/api/v1/calendar/connection"): [
        "SELECT accounts",
        *("BEGIN", "INSERT oauth_grants", "COMMIT"),
    ],
    ("POST", "/api/v1/calendar/sync/auto"): [
        "SELECT accounts oauth_grants",
        "SELECT oauth_grants",
        *("BEGIN", "UPDATE oauth_grants", "COMMIT"),
    ],
    ("GET", "/api/v1/calendar/events"): ["SELECT accounts SELECT calendar_events"],
}

Ask: TypeAlias = Callable[[], Awaitable[httpx.Response]]


class Asked:
    """How each route is asked so that it does its usual work."""

    def __init__(
        self, service: Service, client: httpx.AsyncClient, who: Connected, google: Google
    ) -> None:
        self._service, self._client, self._who, self._google = service, client, who, google
        self.prepared: dict[str, Any] = {}

    async def before(self, method: str, path: str) -> None:
        """Do what the route needs and is not measured."""
        self.prepared = {"headers": self._who.headers}
        match method, path:
            case _, "/api/v1/auth/token":
                form = {"username": self._who.someone.email, "password": PASSWORD}
                self.prepared = {"data": form}
            case _, "/api/v1/auth/csrf" | "/api/v1/auth/logout":
                await self.before("POST", "/api/v1/auth/token")
                await self.ask("POST", "/api/v1/auth/token")
                csrf = (await self._client.get("/api/v1/auth/csrf")).json()["csrf_token"]
                origin = self._service.config.public_origin
                self.prepared = {"headers": {"X-CSRF-Token": csrf, "Origin": origin}}
            case "PUT", "/api/v1/profile":
                self.prepared["json"] = {"display_name": "Ada"}
            case "GET", "/api/v1/profile":
                await self.before("PUT", path)
                await self.ask("PUT", path)
                del self.prepared["json"]
            case "PUT", "/api/v1/settings":
                self.prepared["json"] = {"theme": "dark"}
            case "PUT", "/api/v1/calendar/connection":
                code = (await self._google.mint(authorization_code=True))["authorization_code"]
                self.prepared["json"] = {"code": code}
            case _, "/api/v1/calendar/sync/auto":
                await self.ask(method, path)

    async def ask(self, method: str, path: str) -> None:
        answer = await self._client.request(method, path, **self.prepared)
        assert answer.is_success, answer.text


@pytest.mark.parametrize(("method", "path"), EXPECTED)
async def test_a_route_asks_the_database_no_more_than_it_must(
    method: str,
    path: str,
    service: Service,
    client: httpx.AsyncClient,
    connected: Connected,
    google: Google,
    owner: Owner,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await owner.execute(
        "UPDATE accounts SET password_hash = $1 WHERE id = $2", HASH, connected.account_id
    )
    # However long this machine lets a connection idle.
    monkeypatch.setattr(service.database.pool.meter, "unpinged_seconds", float("inf"))
    asked = Asked(service, client, connected, google)

    with watched_round_trips(service.database.engine) as trips:
        # On each connection a statement is prepared the first time.
        while not trips or PREPARE in trips:
            await asked.before(method, path)
            trips.clear()
            await asked.ask(method, path)
            await asyncio.sleep(0)

    assert trips == EXPECTED[method, path]


def test_every_route_with_a_database_is_here(service: Service) -> None:
    routes = {
        (method, spec.template)
        for spec in service.routes.specs()
        for method, policy in spec.policies.items()
        if policy.admission is not None and spec.template.startswith("/api/")
    }
    assert EXPECTED.keys() == routes
