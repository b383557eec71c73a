"""The signals of the application as wired in production, counted against each other."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import httpx
import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanKind
from structlog.testing import capture_logs

from firedrill_kit import metrics as core_metrics
from firedrill_kit.telemetry.labels import UNMATCHED
from service.app import Service
from stack.postgres import Postgres
from tests.integration.conftest import Someone, config_of
from tests.unit.telemetry.instruments import restored


def requests_counted() -> float:
    return sum(
        sample.value
        for metric in core_metrics.HTTP_REQUEST_SECONDS.collect()
        for sample in metric.samples
        if sample.name.endswith("_count")
    )


@pytest.fixture(scope="module", params=["fast", "contrib"])
async def service(
    request: pytest.FixtureRequest, migrated: Postgres, provider_url: str
) -> AsyncIterator[Service]:
    """One of each way of tracing, beside the one of the session."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TELEMETRY_INSTRUMENTATION", request.param)
        with restored():
            running = Service(config_of(migrated, provider_url))
            await running.start()
            while not running.capabilities.checked or running.database.pool.checkedout():
                await asyncio.sleep(0.01)
            yield running
            await running.stop()


@pytest.fixture
def ended(service: Service) -> Iterator[list[ReadableSpan]]:
    """Spans as they end, during the test."""
    spans: list[ReadableSpan] = []
    watchers = service.tracing.tap.watchers
    watchers.append(spans.append)
    yield spans
    watchers.pop()


async def test_samples_server_spans_and_canonical_lines_are_one_per_request(
    client: httpx.AsyncClient, someone: Someone, ended: list[ReadableSpan]
) -> None:
    before = requests_counted()
    slots = asyncio.Semaphore(20)

    async def ask(number: int) -> httpx.Response:
        path = ("/api/v1/profile", "/api/v1/settings", f"/nowhere/{number}")[number % 3]
        headers = someone.headers if number % 2 else {}
        async with slots:
            return await client.get(path, headers=headers)

    with capture_logs() as lines:
        answers = await asyncio.gather(*map(ask, range(200)))

    servers = [span for span in ended if span.kind is SpanKind.SERVER]
    finished = [line for line in lines if line["event"] == "request_finished"]
    assert requests_counted() - before == len(servers) == len(finished) == 200
    assert {answer.headers["x-request-id"] for answer in answers} == {
        (span.attributes or {})["firedrill.request_id"] for span in servers
    }


async def test_template_label_route_and_span_name_are_one_spelling(
    client: httpx.AsyncClient, someone: Someone, ended: list[ReadableSpan]
) -> None:
    await client.get("/api/v1/profile", headers=someone.headers)
    await client.get("/problems/db_timeout")
    await client.get("/nowhere")

    servers = [span for span in ended if span.kind is SpanKind.SERVER]
    routes = ["/api/v1/profile", "/problems/{code}", UNMATCHED]
    labels = {
        sample.labels["http_route"]
        for metric in core_metrics.HTTP_REQUEST_SECONDS.collect()
        for sample in metric.samples
    }
    assert [(span.attributes or {})["http.route"] for span in servers] == routes
    assert [span.name for span in servers] == [f"GET {route}" for route in routes]
    assert set(routes) <= labels


async def test_every_statement_of_a_request_is_one_client_span_below_its_server_span(
    client: httpx.AsyncClient, someone: Someone, ended: list[ReadableSpan]
) -> None:
    with capture_logs() as lines:
        answer = await client.get("/api/v1/profile", headers=someone.headers)

    (server,) = [span for span in ended if span.kind is SpanKind.SERVER]
    trace_id = server.context.trace_id if server.context is not None else 0
    # Tasks of the service have traces of their own meanwhile.
    clients = [
        span
        for span in ended
        if span.kind is SpanKind.CLIENT
        and span.context is not None
        and span.context.trace_id == trace_id
    ]
    (line,) = [line for line in lines if line["event"] == "request_finished"]
    assert answer.status_code in {200, 404}
    assert len(clients) == line["db_statements"] > 0
