"""Every request is answered in time, whatever it waits for."""

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest
from structlog.testing import capture_logs

from firedrill_kit.pool import measure_pool
from service.app import Service
from stack.postgres import Postgres
from stack.proxy import FaultProxy
from tests.integration.conftest import Owner, Someone, config_of
from tests.signals import Samples, watched_transactions

PROFILE = "/api/v1/profile"


@pytest.fixture
async def proxy(migrated: Postgres) -> AsyncIterator[FaultProxy]:
    async with FaultProxy("127.0.0.1", migrated.port) as opened:
        yield opened


@pytest.fixture
async def behind_proxy(
    service: Service, migrated: Postgres, proxy: FaultProxy
) -> AsyncIterator[Service]:
    """A second service, whose database can be cut off."""
    second = Service(config_of(migrated, database_port=proxy.port, pool_size=2))
    yield second
    proxy.mode = "pass"
    await second.database.close()
    second.sign_in.close()
    # What a process has one of goes back to the service of the other tests.
    second.tracing.stop()
    measure_pool(service.database.engine.sync_engine, service.database.pool.meter)


def caller_of(service: Service) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(service.asgi)
    return httpx.AsyncClient(transport=transport, base_url="http://api.test")


def hurry(monkeypatch: pytest.MonkeyPatch, service: Service, **seconds: float) -> None:
    """Shorten deadlines of a service below what its configuration would take."""
    monkeypatch.setattr(service, "config", service.config.model_copy(update=seconds))


async def test_a_request_out_of_time_is_a_504_that_says_what_it_waited_for(
    client: httpx.AsyncClient,
    service: Service,
    owner: Owner,
    someone: Someone,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = Samples()
    hurry(monkeypatch, service, read_deadline_seconds=0.1)

    with capture_logs() as lines:
        async with owner.transaction():
            await owner.execute("LOCK TABLE profiles IN ACCESS EXCLUSIVE MODE")
            answer = await client.get(PROFILE, headers=someone.headers)
            held = service.database.pool.checkedout()
        while service.database.pool.checkedout():
            await asyncio.sleep(0.01)

    assert (answer.status_code, answer.json()["code"]) == (504, "deadline_exceeded")
    assert answer.headers["content-type"] == "application/problem+json"
    assert held >= 1, "the answer waited for the cleanup"
    assert before.grown("request_deadline_exceeded_total", stage="database") == 1
    assert before.grown("app_failures_total", code="deadline_exceeded", http_route=PROFILE) == 1
    (line,) = [line for line in lines if line["event"] == "request_finished"]
    assert (line["code"], line["stage"]) == ("deadline_exceeded", "database")


async def test_a_silent_network_does_not_delay_the_answer_or_keep_the_connection(
    behind_proxy: Service,
    proxy: FaultProxy,
    someone: Someone,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with caller_of(behind_proxy) as client:
        assert (await client.get("/api/v1/settings", headers=someone.headers)).status_code == 200
        proxy.mode = "blackhole"

        with monkeypatch.context() as patch:
            hurry(patch, behind_proxy, read_deadline_seconds=0.2)
            answer = await client.get("/api/v1/settings", headers=someone.headers)

        assert answer.json()["code"] == "deadline_exceeded"
        assert behind_proxy.database.pool.checkedout() >= 1, "the answer waited for the cleanup"
        # The statement's own limits give the connection up, although nobody waits any more.
        while behind_proxy.database.pool.checkedout():
            await asyncio.sleep(0.01)
        proxy.mode = "pass"
        assert (await client.get("/api/v1/settings", headers=someone.headers)).status_code == 200


async def test_a_database_that_refuses_is_told_at_once_and_again_once_it_is_back(
    behind_proxy: Service, proxy: FaultProxy, someone: Someone
) -> None:
    async with caller_of(behind_proxy) as client:
        proxy.mode = "refuse"
        # More than the pool has: with SQLAlchemy's alone all but the first would wait.
        asked = [client.get("/api/v1/settings", headers=someone.headers) for _ in range(5)]
        answers = await asyncio.gather(*asked)

        assert {answer.json()["code"] for answer in answers} <= {
            "db_unavailable",
            "db_pool_exhausted",
        }
        assert {answer.status_code for answer in answers} == {503}

        proxy.mode = "pass"
        status = 503
        while status == 503:
            answer = await client.get("/api/v1/settings", headers=someone.headers)
            status = answer.status_code
        assert status == 200


async def test_the_end_of_a_callers_own_time_is_its_own_and_not_that_of_the_work(
    client: httpx.AsyncClient, service: Service, owner: Owner, someone: Someone
) -> None:
    headers = {**someone.headers, "X-Request-Deadline-Ms": "100"}
    before = Samples()

    with capture_logs() as lines:
        async with owner.transaction():
            await owner.execute("LOCK TABLE profiles IN ACCESS EXCLUSIVE MODE")
            answer = await client.get(PROFILE, headers=headers)
            admitted = before.grown("http_server_admitted_requests", **{"class": "read"})
        while before.grown("http_server_admitted_requests"):
            await asyncio.sleep(0.01)

    assert (answer.status_code, answer.json()["code"]) == (408, "caller_deadline_exceeded")
    (line,) = [line for line in lines if line["event"] == "request_finished"]
    assert (line["log_level"], line["code"]) == ("info", "caller_deadline_exceeded")
    assert admitted == 1, "the work keeps its place for as long as it uses what others need"
    assert before.grown("request_deadline_exceeded_total") == 0
    for code in (500, 502, 503, 504):
        assert not before.grown(
            "http_server_request_duration_seconds_count", http_response_status_code=str(code)
        )


async def test_without_any_time_left_nothing_is_begun(
    service: Service, client: httpx.AsyncClient, someone: Someone
) -> None:
    out_of_time = {**someone.headers, "X-Request-Deadline-Ms": "0"}

    with watched_transactions(service.database.engine) as transactions:
        answer = await client.get(PROFILE, headers=out_of_time)

    assert (answer.status_code, answer.json()["code"]) == (408, "caller_deadline_exceeded")
    assert transactions == []


async def test_a_caller_with_more_time_than_the_route_gets_the_routes(
    client: httpx.AsyncClient,
    service: Service,
    owner: Owner,
    someone: Someone,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hurry(monkeypatch, service, read_deadline_seconds=0.1)
    headers = {**someone.headers, "X-Request-Deadline-Ms": "5000"}

    async with owner.transaction():
        await owner.execute("LOCK TABLE profiles IN ACCESS EXCLUSIVE MODE")
        answer = await client.get(PROFILE, headers=headers)

    assert (answer.status_code, answer.json()["code"]) == (504, "deadline_exceeded")
