"""One caller misbehaves, twenty honest ones go on as before, and nobody is woken for it.

A test for each thing that callers share. `quiet` watches what the rules of `alerting/` read.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import suppress
from typing import Self
from urllib.parse import urlencode

import httpx
import pytest
from argon2 import PasswordHasher

from service.app import Service
from tests.integration import public_server
from tests.integration.calendar.conftest import (  # noqa: F401 - fixtures, for those who sync
    connect,
    connected,
    expired,
    google,
    upstream,
)
from tests.integration.conftest import PASSWORD, NewAccount, Someone
from tests.integration.public_server import Wire, request, served
from tests.signals import Samples

HONEST = 20
AT_ONCE = 4
"""With the five of a greedy caller fewer than there are database connections."""
SIGN_IN = "/api/v1/auth/token"
PROFILE = "/api/v1/profile"
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
JSON = {"Content-Type": "application/json"}
CHEAP = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
"""Twenty checks at its usual cost are four seconds of CPU."""

WATCHED = (
    "load_shed_total",
    "db_client_connection_timeouts_total",
    "db_client_connection_refused_total",
    "db_connect_failures_total",
    "circuit_breaker_transitions_total",
    "unhandled_exceptions_total",
    "request_deadline_exceeded_total",
    "telemetry_errors_total",
)
"""What pages and tickets are made of, and must not grow because of what one caller sends."""


class Quiet:
    """The signals since it was made."""

    def __init__(self) -> None:
        self.samples = Samples()

    def check(self, *, shed: int = 0) -> None:
        """Fail if anything happened that a rule would read as trouble of the service.

        shed: requests of the one caller itself that a busy machine left waiting too long.
        """
        for name in WATCHED:
            assert self.samples.grown(name) == (shed if name == "load_shed_total" else 0), name
        for status in (500, 502, 503, 504):
            failed = self.samples.grown(
                "http_server_request_duration_seconds_count",
                http_response_status_code=str(status),
            )
            assert failed == (shed if status == 503 else 0), status


@pytest.fixture
def quiet() -> Quiet:
    return Quiet()


@pytest.fixture
async def port(service: Service) -> AsyncIterator[int]:
    """The port as it is shipped."""
    async with served(service.asgi, service.config) as opened:
        yield opened


@pytest.fixture
def password_hash() -> str:
    """One that is checked at once: twenty sign-ins of two slots must not measure the machine."""
    return CHEAP.hash(PASSWORD)


@pytest.fixture
async def honest(new_account: NewAccount) -> list[Someone]:
    return [await new_account() for _ in range(HONEST)]


@pytest.fixture
async def greedy(new_account: NewAccount) -> Someone:
    """The one who misbehaves, where an account is needed for it."""
    return await new_account()


def at(service: Service, address: str) -> httpx.AsyncClient:
    """A caller at an address of its own."""
    transport = httpx.ASGITransport(service.asgi, client=(address, 40000))
    return httpx.AsyncClient(transport=transport, base_url="http://api.test", timeout=60)


def form(someone: Someone) -> bytes:
    return urlencode({"username": someone.email, "password": PASSWORD}).encode()


async def signs_in(port: int, someone: Someone) -> int:
    """Sign in over a connection of its own; the status."""
    async with public_server.connected(port) as wire:
        await wire.send(request(f"POST {SIGN_IN}", FORM, form(someone)))
        return (await wire.answer()).status


async def writes(port: int, someone: Someone) -> int:
    async with public_server.connected(port) as wire:
        headers = {**JSON, **someone.headers}
        body = b'{"display_name": "Somebody"}'
        await wire.send(request(f"PUT {PROFILE}", headers, body))
        return (await wire.answer()).status


async def all_of(work: Iterable[Awaitable[int]]) -> set[int]:
    """The statuses of all, a few at a time: what one replica answers on a busy machine too."""
    few = asyncio.Semaphore(AT_ONCE)

    async def one(each: Awaitable[int]) -> int:
        async with few:
            return await each

    return set(await asyncio.gather(*map(one, work)))


Misbehave = Callable[[Wire], Awaitable[None]]


class Crowd:
    """Connections that misbehave, each again as soon as it is cut, for as long as it is entered."""

    def __init__(self, port: int, misbehave: Misbehave, size: int) -> None:
        self._port = port
        self._misbehave = misbehave
        self._size = size
        self._wires: set[Wire] = set()
        self._over = asyncio.Event()
        self.statuses: set[int] = set()

    async def __aenter__(self) -> Self:
        self._tasks = [asyncio.create_task(self._again()) for _ in range(self._size)]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._over.set()
        for wire in tuple(self._wires):
            wire.abort()
        await asyncio.gather(*self._tasks)

    async def _again(self) -> None:
        while not self._over.is_set():
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                async with public_server.connected(self._port) as wire:
                    self._wires.add(wire)
                    if self._over.is_set():
                        wire.abort()
                    try:
                        await self._misbehave(wire)
                        self.statuses.add((await wire.answer()).status)
                    finally:
                        self._wires.discard(wire)
