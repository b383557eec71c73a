"""What an instrumented application says: samples, lines and spans of each kind of answer."""

import asyncio
import json
import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind
from opentelemetry.util.types import AttributeValue
from sqlalchemy import create_engine, text
from sqlalchemy.pool import QueuePool
from starlette.types import Message, Send

import firedrill_kit
from firedrill_kit import metrics, validation
from firedrill_kit.routes import RouteTable
from firedrill_kit.telemetry import logs
from firedrill_kit.telemetry.redaction import mask
from tests.signals import Samples
from tests.unit.kit.asking import Asked, answered
from tests.unit.kit.foreign import Broken, foreign

JSON = {"content-type": "application/json"}
COUNT = "http_server_request_duration_seconds_count"


@dataclass
class Seen:
    """An instrumented application and what it says."""

    app: FastAPI
    written: list[bytes] = field(default_factory=list)
    spans: list[ReadableSpan] = field(default_factory=list)

    async def ask(self, path: str, send: Send | None = None, **more: Any) -> list[Any]:
        return await answered(self.app, Asked(path, **more), send)

    def lines(self) -> list[dict[str, Any]]:
        self.app.state.firedrill.flush()
        return [json.loads(line) for line in b"".join(self.written).splitlines()]

    def line(self, event: str) -> dict[str, Any]:
        (found,) = [line for line in self.lines() if line["event"] == event]
        return found

    def server_span(self) -> ReadableSpan:
        (found,) = [span for span in self.spans if span.kind is SpanKind.SERVER]
        return found


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Iterator[Seen]:
    found = Seen(foreign())
    open_lines = logs.open_lines

    def to_memory(**options: Any) -> logs.Lines:
        def write(data: bytes) -> int:
            found.written.append(data)
            return len(data)

        return open_lines(**{**options, "write": write})

    monkeypatch.setattr(logs, "open_lines", to_memory)
    instrumentation = firedrill_kit.instrument(found.app, metrics_port=0)
    begin = instrumentation.begin

    def begin_watched() -> None:
        is_first = instrumentation.tracing is None
        begin()
        if is_first and instrumentation.tracing is not None:
            instrumentation.tracing.tap.watchers.append(found.spans.append)

    monkeypatch.setattr(instrumentation, "begin", begin_watched)
    yield found
    instrumentation.flush()


@pytest.mark.parametrize(
    ("path", "route", "status"),
    [
        ("/sync/3", "/sync/{number}", "200"),
        ("/sync/x", "/sync/{number}", "422"),
        ("/typed/4/a/b", "/typed/{number}/{rest}", "200"),
        ("/nowhere", "__unmatched__", "404"),
        ("/inner/thing/a", "/inner/thing/{name}", "200"),
        ("/inner/nowhere", "/inner/{path}", "404"),
        ("/plain/", "/plain/", "200"),
        ("/broken", "/broken", "500"),
        ("/stream/broken", "/stream/broken", "200"),
    ],
)
async def test_a_request_is_counted_under_its_route(
    seen: Seen, path: str, route: str, status: str
) -> None:
    before = Samples()

    await seen.ask(path)

    labels = {"http_route": route, "http_response_status_code": status}
    assert before.grown(COUNT, **labels) == 1
    assert before.grown(COUNT) == 1
    assert seen.server_span().name == f"GET {route}"
    assert seen.line("request_finished")["http.route"] == route


async def test_a_prefix_of_the_proxy_is_no_part_of_the_route(seen: Seen) -> None:
    before = Samples()

    await seen.ask("/shop/sync/3", root_path="/shop")

    assert before.grown(COUNT, http_route="/sync/{number}", http_response_status_code="200") == 1


async def test_a_422_is_counted_by_the_fields_of_the_contract(seen: Seen) -> None:
    before = Samples()

    body = b'{"name": "far too long a name", "prices": {"secret": "y"}, "other": 1}'
    await seen.ask("/items", method="POST", body=body, headers=JSON)

    fields = "http_request_validation_errors_total"
    assert before.grown(fields, field="body.name", error_type="string_too_long") == 1
    assert before.grown(fields, field="body.prices.[key]", error_type="float_parsing") == 1
    assert before.grown(fields) == 2
    assert before.grown("app_failures_total", code="validation_failed", http_route="/items") == 1
    assert [event.name for event in seen.server_span().events] == [
        "firedrill.validation_failed"
    ] * 2
    assert seen.line("request_finished")["level"] == "info"


async def test_an_exception_that_nothing_handles_is_named_by_type_and_place(seen: Seen) -> None:
    before = Samples()

    await seen.ask("/broken")

    assert before.grown("unhandled_exceptions_total", exception_type="Broken") == 1
    assert before.grown("app_failures_total", code="internal_error", http_route="/broken") == 1
    line = seen.line("unhandled_exception")
    assert line["firedrill.frames"][-1].startswith("tests/unit/kit/foreign.py:broken:")
    assert dict(seen.server_span().attributes or {})["error.type"] == "internal_error"


async def test_an_answer_of_the_applications_own_with_5xx_is_called_by_its_status(
    seen: Seen,
) -> None:
    before = Samples()

    await seen.ask("/status/503")

    assert before.grown("app_failures_total", code="http_503") == 1
    assert before.grown("unhandled_exceptions_total") == 0


async def test_an_application_names_its_own_failures(seen: Seen) -> None:
    firedrill_kit.failure(Broken, "out_of_stock", blame="dependency")
    before = Samples()

    try:
        await seen.ask("/broken")
    finally:
        firedrill_kit.failures._named.clear()

    assert before.grown("app_failures_total", code="out_of_stock") == 1
    assert before.grown("unhandled_exceptions_total") == 0
    assert seen.line("request_finished")["level"] == "warning"


@pytest.mark.parametrize(
    ("error", "code", "blame", "message"),
    [
        ("Broken", "broken", "us", "error='Broken': failure takes a class of exceptions"),
        (Broken, "Card 4711 declined", "us", "code='Card 4711 declined': set code to "),
        (Broken, "broken", "them", "blame='them': set blame to caller, dependency, us"),
    ],
)
def test_a_failure_that_cannot_be_named_is_one_sentence(
    error: Any, code: str, blame: Any, message: str
) -> None:
    with pytest.raises((TypeError, ValueError), match=re.escape(message)):
        firedrill_kit.failure(error, code, blame=blame)


async def test_the_counters_of_every_route_are_there_before_its_first_failure(seen: Seen) -> None:
    await seen.ask("/")

    labels = {"code": "db_pool_exhausted", "http_route": "/sync/{number}"}
    assert metrics.REGISTRY.get_sample_value("app_failures_total", labels) == 0


async def test_a_bug_of_the_kit_reaches_nobody_and_is_counted(
    seen: Seen, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_arguments: object) -> None:
        raise RuntimeError

    for owner, name in (
        (validation, "field_of"),
        (RouteTable, "resolve"),
        (firedrill_kit.failures, "describe"),
    ):
        monkeypatch.setattr(owner, name, broken)
    before = Samples()

    refused = await seen.ask("/items", method="POST", headers=JSON)
    failed = await seen.ask("/broken")

    assert refused[0]["status"] == 422
    assert failed[0]["status"] == 500
    assert before.grown("telemetry_errors_total", where="http") >= 3


async def test_the_applications_logging_stays_as_it_is(
    seen: Seen, caplog: pytest.LogCaptureFixture
) -> None:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level

    @seen.app.get("/logging")
    async def says() -> None:
        logging.getLogger("shop").warning("sold %s for %d", "shoes", 3)

    await seen.ask("/logging")

    assert (list(root.handlers), root.level) == (handlers, level)
    (record,) = [one for one in caplog.records if one.name == "shop"]
    assert record.getMessage() == "sold shoes for 3"
    assert record.trace_id == seen.line("request_finished")["trace_id"]  # type: ignore[attr-defined]
    assert record.http_route == "/logging"  # type: ignore[attr-defined]


async def test_what_the_application_adds_to_a_record_stays(
    seen: Seen, caplog: pytest.LogCaptureFixture
) -> None:
    @seen.app.get("/logging")
    async def says() -> None:
        logging.getLogger("shop").warning("sold", extra={"trace_id": "own", "span_id": "own"})

    answer = await seen.ask("/logging")

    assert answer[0]["status"] == 200
    (record,) = [one for one in caplog.records if one.name == "shop"]
    assert (record.trace_id, record.span_id) == ("own", "own")  # type: ignore[attr-defined]
    assert record.http_route == "/logging"  # type: ignore[attr-defined]


async def test_the_applications_tracing_is_joined(
    seen: Seen, monkeypatch: pytest.MonkeyPatch
) -> None:
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: provider)
    tracer = provider.get_tracer("shop")

    @seen.app.get("/traced")
    async def traced() -> None:
        with tracer.start_as_current_span("own", attributes={"shop.size": 42}):
            pass

    await seen.ask("/traced")

    (own,) = [span for span in exporter.get_finished_spans() if span.name == "own"]
    server = seen.server_span()
    assert own.context
    assert own.context.trace_id == server.context.trace_id
    assert (dict(own.attributes or {}), own in seen.spans) == ({"shop.size": 42}, True)


async def test_one_request_is_one_server_span_where_the_application_begins_it(
    seen: Seen, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As FastAPI does by itself once a provider is set."""
    provider = TracerProvider()
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: provider)

    await seen.ask("/broken")

    assert dict(seen.server_span().attributes or {})["firedrill.failure.code"] == "internal_error"


async def test_a_request_in_the_context_of_the_one_before_has_a_trace_of_its_own(
    seen: Seen,
) -> None:
    """As uvicorn starts what was pipelined: when the last byte of the answer before has been sent."""
    pipelined: list[asyncio.Task[Any]] = []

    async def send(message: Message) -> None:
        if message["type"] == "http.response.body" and not message.get("more_body"):
            pipelined.append(asyncio.create_task(seen.ask("/sync/2")))

    await seen.ask("/sync/1", send=send)
    await asyncio.gather(*pipelined)

    servers = [span for span in seen.spans if span.kind is SpanKind.SERVER]
    assert len({span.context.trace_id for span in servers if span.context}) == 2
    lines = [line["trace_id"] for line in seen.lines() if line["event"] == "request_finished"]
    assert len(set(lines)) == 2


async def test_a_statement_is_one_client_span_of_the_request(seen: Seen, tmp_path: Path) -> None:
    engine = create_engine(f"sqlite:///{tmp_path}/shop.db", poolclass=QueuePool)
    seen.app.state.firedrill.add_engine(engine, name="shop")

    @seen.app.get("/items")
    def items() -> None:
        with engine.connect() as connection:
            connection.execute(text("SELECT count(*) FROM sqlite_master WHERE name = 'me'"))

    await seen.ask("/items")

    # A service of another test in this process leaves spans of its own meanwhile.
    trace_id = seen.server_span().context.trace_id
    of_the_request = [span for span in seen.spans if span.context.trace_id == trace_id]
    (statement,) = [span for span in of_the_request if span.kind is SpanKind.CLIENT]
    assert statement.name == "SELECT sqlite_master"
    assert seen.line("request_finished")["firedrill.db_statements"] == 1


def test_attributes_that_nobody_listed_leave_and_secrets_among_them_are_masked() -> None:
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    attributes: dict[str, AttributeValue] = {
        "shop.size": 42,
        "db.statement": "SELECT 'secret'",
        "http.request.header.authorization": "Bearer secret",
        "firedrill.token_format": "enhanced",
    }
    with (
        pytest.raises(ValueError, match="secret"),
        provider.get_tracer("shop").start_as_current_span("own", attributes=attributes),
    ):
        raise ValueError("secret")

    masked = mask(exporter.get_finished_spans()[0])

    assert dict(masked.attributes or {}) == {
        "shop.size": 42,
        "db.statement": "SELECT ?",
        "http.request.header.authorization": "[redacted]",
        "firedrill.token_format": "enhanced",
    }
    assert "secret" not in masked.to_json()
    assert [dict(event.attributes or {})["exception.type"] for event in masked.events] == [
        "ValueError"
    ]
