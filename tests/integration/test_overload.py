"""More requests than can be answered in time: the refusal must cost next to nothing."""

import dataclasses
from collections.abc import AsyncIterator

import httpx
import pytest
from opentelemetry.trace import SpanKind
from structlog.testing import capture_logs

from service.app import Service
from tests.integration.conftest import Someone
from tests.signals import Samples, watched_spans

PROFILE = "/api/v1/profile"
TOO_MANY = 12


@pytest.fixture
async def full(service: Service, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[None]:
    """As many writes at work as are admitted, and nobody who may wait."""
    found = service.admission._classes["write"]
    monkeypatch.setattr(found, "limits", dataclasses.replace(found.limits, waiting=0))
    callers = [f"caller {number}" for number in range(service.config.write_in_flight_max)]
    for caller in callers:
        await service.admission.enter("write", caller)
    yield
    for caller in callers:
        service.admission.leave("write", caller)


@pytest.mark.usefixtures("full")
async def test_a_request_too_many_is_refused_counted_and_nothing_else(
    client: httpx.AsyncClient, service: Service
) -> None:
    before = Samples()
    malformed = {"Authorization": "Bearer nonsense"}

    with watched_spans(service.tracing) as spans, capture_logs() as lines:
        answers = [await client.put(PROFILE, headers=malformed) for _ in range(TOO_MANY)]

    assert {answer.status_code for answer in answers} == {503}
    for answer in answers:
        problem = answer.json()
        assert problem["code"] == "overloaded"
        assert answer.headers["content-type"] == "application/problem+json"
        assert 1 <= int(answer.headers["retry-after"]) <= 3
        assert problem["retry_after"] == int(answer.headers["retry-after"])
        assert "trace_id" not in problem
    assert before.grown("load_shed_total", **{"class": "write"}) == TOO_MANY
    assert before.grown("app_failures_total", code="overloaded", http_route=PROFILE) == TOO_MANY
    assert (
        before.grown(
            "http_server_request_duration_seconds_count",
            http_route=PROFILE,
            http_request_method="PUT",
            http_response_status_code="503",
        )
        == TOO_MANY
    )
    # Nobody looked at the token, and nobody asked the database for a profile.
    assert before.grown("auth_tokens_rejected_total") == 0
    profiles = {"db_collection_name": "profiles"}
    assert before.grown("db_client_operation_duration_seconds_count", **profiles) == 0
    assert not [span for span in spans.ended if span.kind is SpanKind.SERVER]
    assert {line["event"] for line in lines} <= {"shed_sample"}
    assert len(lines) <= 1 + TOO_MANY // 10


@pytest.mark.usefixtures("full")
async def test_a_class_that_is_full_takes_no_place_of_another(
    client: httpx.AsyncClient, someone: Someone
) -> None:
    answer = await client.get("/api/v1/settings", headers=someone.headers)

    assert answer.status_code == 200


async def test_places_are_given_back(client: httpx.AsyncClient, someone: Someone) -> None:
    """Each of many more writes than are admitted at once is answered, one after the other."""
    body = {"display_name": "Somebody"}

    answers = [await client.put(PROFILE, json=body, headers=someone.headers) for _ in range(30)]

    assert {answer.status_code for answer in answers} == {200}
