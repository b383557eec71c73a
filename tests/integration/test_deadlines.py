"""Every request is answered in time, whatever it waits for."""

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest
from starlette.types import Scope
from structlog.testing import capture_logs

from service.app import Service
from service.pool import watch
from stack.postgres import Postgres
from stack.proxy import FaultProxy
from tests.integration.conftest import Owner, Someone, config_of
from tests.signals import Samples

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
    watch(lambda: service.database.pool)


def caller_of(service: Service) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(service.asgi)
    return httpx.AsyncClient(transport=transport, base_url="http://api.test")


async def test_a_request_out_of_time_is_a_504_that_says_what_it_waited_for(
    client: httpx.AsyncClient, service: Service, owner: Owner, someone: Someone
) -> None:
    before = Samples()
    headers = {**someone.headers, "X-Request-Deadline-Ms": "100"}

    with capture_logs() as lines:
        async with owner.transaction():
            await owner.execute("LOCK TABLE profiles IN ACCESS EXCLUSIVE MODE")
            answer = await client.get(PROFILE, headers=headers)
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
    behind_proxy: Service, proxy: FaultProxy, someone: Someone
) -> None:
    async with caller_of(behind_proxy) as client:
        assert (await client.get("/api/v1/settings", headers=someone.headers)).status_code == 200
        proxy.mode = "blackhole"

        headers = {**someone.headers, "X-Request-Deadline-Ms": "200"}
        answer = await client.get("/api/v1/settings", headers=headers)

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
        asked = [client.get("/api/v1/settings", headers=someone.headers) for _ in range(10)]
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


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (b"100", 0.1),
        (b"0", 0.001),
        (b"999999", 2.0),
        (b"9999999", 2.0),
        (b"-1", 2.0),
        (b"1e1", 2.0),
        ("１".encode(), 2.0),
        (b"", 2.0),
    ],
)
def test_a_caller_can_only_shorten_the_deadline(
    service: Service, header: bytes, seconds: float
) -> None:
    scope: Scope = {
        "method": "GET",
        "headers": [(b"x-request-deadline-ms", header)],
        "state": {"route": service.routes.resolve(PROFILE)},
    }

    assert service._deadline_seconds(scope) == seconds
