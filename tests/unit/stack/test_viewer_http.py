"""The viewer's HTTP: what it takes, what it refuses, what it answers."""

import gzip
import json
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from stack.prober.canary import canary_span
from stack.viewer import app as viewer_app
from stack.waiting import until_true
from tests.spans import PROTOBUF, log_request, record, span, span_request

TRACE = "c" * 32
GOOD = 20


@pytest.fixture
async def viewer(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    app = viewer_app.create_app(tmp_path / "viewer" / "traces.db", tmp_path)
    transport = httpx.ASGITransport(app=app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:3000") as client,
    ):
        yield client


async def send(
    viewer: httpx.AsyncClient, body: bytes, headers: dict[str, str] = PROTOBUF
) -> httpx.Response:
    return await viewer.post("/v1/traces", content=body, headers=headers)


@pytest.mark.parametrize("encoding", ["", "gzip"])
async def test_a_span_that_is_sent_can_be_read(viewer: httpx.AsyncClient, encoding: str) -> None:
    body = canary_span(TRACE, 1000.0)
    packed = gzip.compress(body) if encoding else body

    sent = await send(viewer, packed, PROTOBUF | {"content-encoding": encoding})
    read = await viewer.get(f"/api/traces/{TRACE}")
    listed = await viewer.get("/api/traces")

    assert (sent.status_code, sent.headers["content-type"]) == (200, "application/x-protobuf")
    assert [span["name"] for span in read.json()["spans"]] == ["canary"]
    assert [trace["trace_id"] for trace in listed.json()["traces"]] == [TRACE]


async def test_log_lines_of_the_trace_are_beside_its_spans(
    viewer: httpx.AsyncClient, tmp_path: Path
) -> None:
    await send(viewer, canary_span(TRACE, 1000.0))

    (tmp_path / "service-1.jsonl").write_text(json.dumps({"trace_id": TRACE, "event": "x"}) + "\n")

    async def lines() -> bool:
        return bool((await viewer.get(f"/api/traces/{TRACE}")).json()["logs"])

    await until_true(lines, "the log line")


@pytest.mark.parametrize(
    ("body", "headers", "status", "why"),
    [
        (b"garbage", PROTOBUF, 400, "not_otlp"),
        (b"plain", PROTOBUF | {"content-encoding": "gzip"}, 400, "not_otlp"),
        (b"{}", {"content-type": "application/json"}, 415, "media_type"),
        (b"x" * (viewer_app.BODY_BYTES + 1), PROTOBUF, 413, "too_large"),
        (
            gzip.compress(b"\0" * (viewer_app.BODY_BYTES + 1)),
            PROTOBUF | {"content-encoding": "gzip"},
            413,
            "too_large",
        ),
    ],
)
async def test_what_is_no_otlp_is_refused_and_counted(
    viewer: httpx.AsyncClient, body: bytes, headers: dict[str, str], status: int, why: str
) -> None:
    answer = await send(viewer, body, headers)

    assert answer.status_code == status
    assert answer.json()["error"]
    metrics = (await viewer.get("/metrics")).text
    assert f'viewer_requests_refused_total{{why="{why}"}} 1.0' in metrics


async def test_a_page_that_points_its_own_name_at_loopback_reads_nothing(
    viewer: httpx.AsyncClient,
) -> None:
    answer = await viewer.get("/api/traces", headers={"host": "attacker.example:3000"})

    assert answer.status_code == 400


def bad(**changes: object) -> Span:
    """A span that would be kept if it were not for what is changed."""
    made = span(7, began=1000.0, keep=True)
    for name, value in changes.items():
        setattr(made, name, value)
    return made


def with_text_that_is_not_utf8(body: bytes) -> bytes:
    return body.replace(b"PLACE-OF-BYTES", b"\xff" * len(b"PLACE-OF-BYTES"))


BAD_SPANS = {
    "no ids": (Span(name="nameless"), "ids"),
    "a short trace id": (bad(trace_id=b"\1" * 15), "ids"),
    "a long trace id": (bad(trace_id=b"\1" * 32), "ids"),
    "a trace id of zeros": (bad(trace_id=bytes(16)), "ids"),
    "no span id": (bad(span_id=b""), "ids"),
    "a span id of zeros": (bad(span_id=bytes(8)), "ids"),
    "an end before its start": (bad(end_time_unix_nano=1), "times"),
    "no times": (bad(start_time_unix_nano=0, end_time_unix_nano=0), "times"),
    "no end": (bad(end_time_unix_nano=0), "times"),
    "a name that is not UTF-8": (bad(name="PLACE-OF-BYTES"), "not_otlp"),
    "a state that is not UTF-8": (bad(trace_state="PLACE-OF-BYTES"), "not_otlp"),
    "an attribute that is too large": (
        span(7, began=1000.0, more={"x": "y" * 6_000_000}),
        "too_large",
    ),
}


@pytest.mark.parametrize(("refused", "why"), BAD_SPANS.values(), ids=BAD_SPANS.keys())
async def test_one_bad_span_is_refused_and_the_rest_of_its_batch_kept(
    viewer: httpx.AsyncClient, refused: Span, why: str
) -> None:
    ids = [f"{number:032x}" for number in range(1, GOOD + 1)]
    good = [span(1, began=1000.0, trace_id=trace_id, keep=True) for trace_id in ids]
    body = with_text_that_is_not_utf8(span_request(*good[:10], refused, *good[10:]))

    sent = await send(viewer, body)

    answer = ExportTraceServiceResponse.FromString(sent.content).partial_success
    listed = (await viewer.get("/api/traces")).json()["traces"]
    metrics = (await viewer.get("/metrics")).text
    assert (sent.status_code, answer.rejected_spans) == (200, 1)
    assert answer.error_message.startswith("1 refused: ")
    assert sorted(trace["trace_id"] for trace in listed) == ids
    assert f'viewer_spans_refused_total{{why="{why}"}} 1.0' in metrics


async def test_every_span_of_a_batch_may_be_bad(viewer: httpx.AsyncClient) -> None:
    sent = await send(viewer, span_request(*(made for made, _ in list(BAD_SPANS.values())[:9])))

    answer = ExportTraceServiceResponse.FromString(sent.content).partial_success
    assert answer.rejected_spans == 9
    assert answer.error_message == (
        "6 refused: no valid trace or span id; 3 refused: no start, or an end before it"
    )


async def test_an_answer_to_a_good_batch_names_no_refusal(viewer: httpx.AsyncClient) -> None:
    spans = await send(viewer, canary_span(TRACE, 1000.0))
    lines = await viewer.post("/v1/logs", content=log_request(record("x")), headers=PROTOBUF)

    assert spans.content == lines.content == b""


BAD_RECORDS = {
    "a short trace id": (record("x", "ab" * 15), "ids"),
    "a long trace id": (record("x", "ab" * 17), "ids"),
    "text that is not UTF-8": (record("PLACE-OF-BYTES", TRACE), "not_otlp"),
    "text that is too long": (record("x" * 70_000, TRACE), "too_large"),
    "text that is far too long": (record("x" * 6_000_000, TRACE), "too_large"),
}


@pytest.mark.parametrize(("refused", "why"), BAD_RECORDS.values(), ids=BAD_RECORDS.keys())
async def test_one_bad_log_line_is_refused_and_the_rest_of_its_batch_kept(
    viewer: httpx.AsyncClient, refused: LogRecord, why: str
) -> None:
    await send(viewer, canary_span(TRACE, 1000.0))
    good = [record(f"line {number}", TRACE) for number in range(GOOD)]
    body = with_text_that_is_not_utf8(log_request(*good[:10], refused, *good[10:]))

    sent = await viewer.post("/v1/logs", content=body, headers=PROTOBUF)

    answer = ExportLogsServiceResponse.FromString(sent.content).partial_success
    kept = (await viewer.get(f"/api/traces/{TRACE}")).json()["logs"]
    metrics = (await viewer.get("/metrics")).text
    assert (sent.status_code, answer.rejected_log_records) == (200, 1)
    assert len(kept) == GOOD
    assert f'viewer_log_lines_refused_total{{why="{why}"}} 1.0' in metrics


async def test_a_resource_that_cannot_be_read_costs_its_name_only(
    viewer: httpx.AsyncClient,
) -> None:
    body = span_request(span(1, began=1000.0, trace_id=TRACE, keep=True))

    sent = await send(viewer, body.replace(b"service.name", b"\xff" * len(b"service.name")))

    found = (await viewer.get(f"/api/traces/{TRACE}")).json()
    assert sent.content == b""
    assert found["spans"][0]["service"] == "unknown"


async def test_a_kind_and_a_status_without_a_name_are_their_numbers(
    viewer: httpx.AsyncClient,
) -> None:
    odd = span(1, began=1000.0, trace_id=TRACE, keep=True)
    odd.kind, odd.status.code = 6, -7  # type: ignore[assignment]
    odd.parent_span_id = bytes(8)  # as some SDKs write that there is none
    await send(viewer, span_request(odd))

    found = await viewer.get(f"/api/traces/{TRACE}")

    assert found.status_code == 200
    (shown,) = found.json()["spans"]
    assert (shown["kind"], shown["status"], shown["parent_span_id"]) == (6, -7, None)


async def test_a_line_that_is_no_text_is_shown_with_its_fields(viewer: httpx.AsyncClient) -> None:
    await send(viewer, canary_span(TRACE, 1000.0))
    bodies = [{"event": "x", "rows": 0}, 7, "[" * 300 + "]" * 300, None]
    body = log_request(*(record(given, TRACE) for given in bodies))

    await viewer.post("/v1/logs", content=body, headers=PROTOBUF)

    lines = (await viewer.get(f"/api/traces/{TRACE}")).json()["logs"]
    expected = [bodies[0], *({"event": given} for given in bodies[1:])]
    assert sorted(lines, key=str) == sorted(expected, key=str)


async def test_a_trace_that_is_not_here_says_why(viewer: httpx.AsyncClient) -> None:
    unknown = await viewer.get(f"/api/traces/{TRACE}")
    await send(viewer, span_request(span(2, began=1000.0, trace_id=TRACE)))
    waiting = await viewer.get(f"/api/traces/{TRACE}")

    assert [answer.status_code for answer in (unknown, waiting)] == [404, 404]
    assert unknown.json()["state"] == "unknown"
    assert waiting.json()["state"] == "waiting"
