"""More requests than can be answered in time: the refusal must cost next to nothing."""

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest
from opentelemetry.trace import SpanKind
from structlog.testing import capture_logs

from service.app import Service
from tests.integration.conftest import Owner, Someone
from tests.signals import Samples, watched_spans

PROFILE = "/api/v1/profile"
TOO_MANY = 12


@pytest.fixture
async def full(
    service: Service, client: httpx.AsyncClient, owner: Owner, someone: Someone
) -> AsyncIterator[None]:
    """As many reads under way as are admitted; each waits for a lock, or for who waits for it."""
    limit = service.config.read_in_flight_max
    async with owner.transaction():
        await owner.execute("LOCK TABLE profiles IN ACCESS EXCLUSIVE MODE")
        admitted = [
            asyncio.create_task(client.get(PROFILE, headers=someone.headers)) for _ in range(limit)
        ]
        before = Samples()
        while before.grown("http_server_admitted_requests", **{"class": "read"}) < limit:
            await asyncio.sleep(0)
        yield
        answers = await asyncio.gather(*admitted)
    # Of those who were admitted none is refused for load.
    assert "overloaded" not in {answer.json()["code"] for answer in answers}


@pytest.mark.usefixtures("full")
async def test_a_request_too_many_is_refused_counted_and_nothing_else(
    client: httpx.AsyncClient, service: Service
) -> None:
    before = Samples()
    statements = before.grown("db_client_operation_duration_seconds_count")
    malformed = {"Authorization": "Bearer nonsense"}

    with watched_spans(service.tracing) as spans, capture_logs() as lines:
        # Sent one by one from here: between two of them no other task has to run.
        answers = [await client.get(PROFILE, headers=malformed) for _ in range(TOO_MANY)]

    assert {answer.status_code for answer in answers} == {503}
    for answer in answers:
        problem = answer.json()
        assert problem["code"] == "overloaded"
        assert answer.headers["content-type"] == "application/problem+json"
        assert 1 <= int(answer.headers["retry-after"]) <= 3
        assert problem["retry_after"] == int(answer.headers["retry-after"])
        assert "trace_id" not in problem
    assert before.grown("load_shed_total", **{"class": "read"}) == TOO_MANY
    assert before.grown("app_failures_total", code="overloaded", http_route=PROFILE) == TOO_MANY
    assert (
        before.grown(
            "http_server_request_duration_seconds_count",
            http_route=PROFILE,
            http_response_status_code="503",
        )
        == TOO_MANY
    )
    # Nobody looked at the token, and nobody asked the database.
    assert before.grown("auth_tokens_rejected_total") == 0
    assert before.grown("db_client_operation_duration_seconds_count") == statements == 0
    assert not [span for span in spans.ended if span.kind is SpanKind.SERVER]
    assert {line["event"] for line in lines} <= {"shed_sample"}
    assert len(lines) <= 1 + TOO_MANY // 10


@pytest.mark.usefixtures("full")
async def test_a_class_that_is_full_takes_no_place_of_another(
    client: httpx.AsyncClient, someone: Someone
) -> None:
    body = {"theme": "dark", "notifications": False}

    answer = await client.put("/api/v1/settings", json=body, headers=someone.headers)

    # The pool may be full, which a write waits for; admission is not what refuses it.
    assert answer.status_code == 200 or answer.json()["code"] == "db_pool_exhausted"


async def test_refused_callers_are_answered_again_once_there_is_room(
    client: httpx.AsyncClient, someone: Someone
) -> None:
    answer = await client.get("/api/v1/settings", headers=someone.headers)

    assert answer.status_code == 200
