"""Liveness, readiness and metrics, asked over their own port as a balancer would."""

import asyncio
import json
import threading
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

import asyncpg
import pytest

from firedrill_kit import metrics as core_metrics
from service import health, metrics
from service.app import Service
from service.config import Config
from service.database import connect
from service.health import (
    FAILURES_TO_DOWN,
    SUCCESSES_TO_UP,
    DatabaseProbe,
    Health,
    Hysteresis,
    InternalServer,
)
from stack.postgres import Postgres
from stack.proxy import FaultProxy
from stack.serving import free_port
from tests.integration.conftest import Owner, config_of

Answer = tuple[int, dict[str, Any]]


def ask(config: Config, path: str) -> Answer:
    """GET, blocking: the loop of the tests need not turn for it."""
    url = f"http://127.0.0.1:{config.service_internal_port}{path}"
    try:
        with urllib.request.urlopen(url, timeout=20) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code, json.load(refused)


@pytest.fixture
def config(migrated: Postgres) -> Config:
    return config_of(migrated, service_internal_port=free_port())


@contextmanager
def serving(config: Config, state: Health) -> Iterator[None]:
    server = InternalServer(config, state)
    server.start()
    try:
        yield
    finally:
        server.stop()


@pytest.fixture
def state(config: Config) -> Iterator[Health]:
    """The health of a replica that runs, served."""
    made = Health()
    made.phase = "running"
    with serving(config, made):
        yield made


async def test_health_and_metrics_answer_while_the_loop_is_blocked(
    config: Config, state: Health
) -> None:
    answers: dict[str, int] = {}
    answered = threading.Event()

    def ask_all() -> None:
        for path in ("/livez", "/readyz"):
            answers[path] = ask(config, path)[0]
        url = f"http://127.0.0.1:{config.service_internal_port}/metrics"
        with urllib.request.urlopen(url, timeout=20) as answer:
            answers["/metrics"] = answer.status
        answered.set()

    thread = threading.Thread(target=ask_all)
    thread.start()
    in_time = answered.wait(20)  # blocks this loop, as a handler would that forgot to await
    thread.join()

    assert in_time
    assert answers == {"/livez": 200, "/readyz": 200, "/metrics": 200}


async def test_a_loop_that_stands_still_too_long_is_neither_alive_nor_ready(
    config: Config, state: Health
) -> None:
    state.heartbeat_age_seconds = lambda: health.LOOP_STUCK_SECONDS - 0.01
    assert ask(config, "/livez") == (200, {"status": "ok"})

    state.heartbeat_age_seconds = lambda: health.LOOP_STUCK_SECONDS
    assert ask(config, "/livez") == (503, {"status": "event_loop_blocked"})
    status, body = ask(config, "/readyz")
    assert (status, body["reasons"]) == (503, ["event_loop_blocked"])


async def test_the_heartbeat_of_a_running_service_is_that_of_its_loop(service: Service) -> None:
    """Blocks the loop for a moment; with the monitor unplugged the age would stay 0."""
    time.sleep(0.3)  # noqa: ASYNC251 - what is tested

    assert service.health.heartbeat_age_seconds() >= 0.2
    await asyncio.sleep(0.15)
    assert service.health.heartbeat_age_seconds() < 0.3


@pytest.mark.parametrize("phase", ["starting", "stopping"])
async def test_a_replica_that_starts_or_stops_gets_no_traffic_and_is_not_killed(
    config: Config, state: Health, phase: str
) -> None:
    state.phase = phase

    status, body = ask(config, "/readyz")

    assert (status, body["status"], body["reasons"]) == (503, "not_ready", [phase])
    assert ask(config, "/livez")[0] == 200


@pytest.fixture
async def without_locale(service: Service, owner: Owner) -> AsyncIterator[None]:
    """The database without a column that this version needs."""
    await owner.execute("ALTER TABLE profiles RENAME COLUMN locale TO locale_away")
    await service.schema.check()
    yield
    await owner.execute("ALTER TABLE profiles RENAME COLUMN locale_away TO locale")
    await service.schema.check()
    assert service.capabilities.missing_required == ()


@pytest.mark.usefixtures("without_locale")
async def test_a_required_column_that_is_missing_makes_the_replica_not_ready_and_is_named(
    config: Config, service: Service
) -> None:
    with serving(config, service.health):
        status, body = ask(config, "/readyz")

    assert status == 503
    assert any("profiles.locale" in reason for reason in body["reasons"])
    assert "locale_away" not in str(body)


async def test_a_pool_that_is_stuck_is_told_after_several_observations_only() -> None:
    state = Health()
    state.phase = "running"
    state.pool_is_exhausted = lambda: True
    state.oldest_checkout_seconds = lambda: health.POOL_WEDGED_SECONDS + 1

    for _ in range(FAILURES_TO_DOWN - 1):
        state.observe_pool()
    assert state.reasons() == []
    state.observe_pool()
    assert state.reasons() == ["pool_wedged"]

    # A long-held connection alone is no reason while others are free.
    state.pool_is_exhausted = lambda: False
    for _ in range(SUCCESSES_TO_UP):
        state.observe_pool()
    assert state.reasons() == []


@pytest.mark.parametrize(("mode", "reason"), [("refuse", "refused"), ("blackhole", "timeout")])
async def test_a_database_that_is_down_is_shown_and_takes_no_replica_away(
    config: Config, migrated: Postgres, monkeypatch: pytest.MonkeyPatch, mode: Any, reason: str
) -> None:
    monkeypatch.setattr(health, "DATABASE_EVERY_SECONDS", 0.02)
    monkeypatch.setattr(health, "DATABASE_ANSWER_SECONDS", 0.5)
    state = Health()
    state.phase = "running"

    async def shown(wanted: str) -> Answer:
        while True:
            answer = await asyncio.to_thread(ask, config, "/readyz")
            if answer[1]["dependencies"]["database"] == wanted:
                return answer
            await asyncio.sleep(0.02)

    async with FaultProxy("127.0.0.1", migrated.port) as proxy:
        changes = {"database_port": proxy.port}
        with serving(config.model_copy(update=changes), state):
            assert (await shown("ok"))[0] == 200
            before = connect_failures(reason)
            proxy.mode = mode
            status, body = await shown(reason)
            assert (status, body["status"], body["reasons"]) == (200, "ready", [])
            assert database_up() == 0
            assert connect_failures(reason) > before
            proxy.mode = "pass"
            assert (await shown("ok"))[0] == 200
            assert database_up() == 1


def connect_failures(reason: str) -> float:
    return core_metrics.DB_CONNECT_FAILURES.labels(reason)._value.get()  # type: ignore[no-any-return]


async def test_new_connections_that_fail_are_told_while_the_old_one_answers(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rotated password, a full server: the pool goes on with what it has, and nobody would notice."""
    monkeypatch.setattr(health, "CONNECTION_LIFE_SECONDS", 0.0)
    probe = DatabaseProbe(config, Health())
    await probe._observe()
    were = [database_up(), value_of(metrics.DB_CONNECT_UP)]
    count = connect_failures("auth")

    async def refuse(*_: Any, **__: Any) -> None:
        raise asyncpg.InvalidPasswordError

    monkeypatch.setattr(health, "connect", refuse)
    for _ in range(2):
        await probe._observe()

    probe.close()
    assert were == [1, 1]
    assert [database_up(), value_of(metrics.DB_CONNECT_UP)] == [1, 0]
    assert connect_failures("auth") - count == 2


async def test_a_connection_is_replaced_after_its_time_and_not_before(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[Any] = []

    async def counting(*arguments: Any, **more: Any) -> Any:
        opened.append(await connect(*arguments, **more))
        return opened[-1]

    monkeypatch.setattr(health, "connect", counting)
    probe = DatabaseProbe(config, Health())
    for _ in range(3):
        await probe._observe()
    kept = len(opened)
    monkeypatch.setattr(probe, "_renew_at", 0.0)
    await probe._observe()

    assert kept == 1
    assert [connection.is_closed() for connection in opened] == [True, False]
    probe.close()


async def test_the_way_to_the_database_is_measured_without_the_pool(
    config: Config, migrated: Postgres
) -> None:
    async with FaultProxy("127.0.0.1", migrated.port, latency_seconds=0.06) as proxy:
        probe = DatabaseProbe(config.model_copy(update={"database_port": proxy.port}), Health())
        await probe._observe()
        proxy.mode = "latency"
        await probe._observe()

    probe.close()
    assert value_of(metrics.DB_ROUND_TRIP_SECONDS) >= 0.12


def database_up() -> float:
    return value_of(metrics.DB_UP)


def value_of(gauge: Any) -> float:
    (family,) = gauge.collect()
    return float(family.samples[0].value)


def test_one_bad_answer_changes_nothing() -> None:
    state = Hysteresis()

    assert state.observe(value=False)
    assert state.observe(value=True)
    assert state.observe(value=False)
    assert state.observe(value=False)
    assert not state.observe(value=False)
    assert not state.observe(value=True)
    assert state.observe(value=True)


async def test_a_port_that_is_taken_is_said_with_what_to_do(config: Config, state: Health) -> None:
    second = InternalServer(config, Health())

    with pytest.raises(OSError, match="set SERVICE_INTERNAL_PORT to a free one"):
        second.start()
