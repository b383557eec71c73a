"""The viewer's HTTP: what it takes, what it refuses, what it answers."""

import gzip
import json
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from stack.prober.canary import canary_span
from stack.viewer import app as viewer_app
from tests.stack.waiting import until_true

TRACE = "c" * 32
PROTOBUF = {"content-type": "application/x-protobuf"}


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
            gzip.compress(b"\0" * (4 * viewer_app.BODY_BYTES + 1)),
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
