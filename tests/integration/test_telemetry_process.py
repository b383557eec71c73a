"""The telemetry under a real server, and in a process whose output nobody reads."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import uvicorn
from opentelemetry.trace import SpanKind
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from firedrill_kit.telemetry.http import mark_disconnected
from firedrill_kit.telemetry.record import RequestRecord
from tests.unit.telemetry.instruments import answer, application, stack, telemetry


class NotingProtocol(HttpToolsProtocol):
    """Says when a caller has left before the answer; ASGI alone does not."""

    def connection_lost(self, exc: Exception | None) -> None:
        cycle = getattr(self, "cycle", None)  # declared as never None; it is before the first head
        if cycle is not None and not cycle.response_complete:
            mark_disconnected(cycle.scope)
        super().connection_lost(exc)


@asynccontextmanager
async def served(app: ASGIApp) -> AsyncIterator[int]:
    config = uvicorn.Config(
        app, port=0, http=NotingProtocol, lifespan="off", log_config=None, access_log=False
    )
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server._serve())
    while not server.started:
        await asyncio.sleep(0.01)
    yield server.servers[0].sockets[0].getsockname()[1]
    server.should_exit = True
    await serving


async def test_pipelined_requests_are_traces_of_their_own() -> None:
    async def fine(record: RequestRecord, send: Send) -> None:
        await asyncio.sleep(0)
        await send(
            {
                "type": "http.response.start",
                "status": 200,
                "headers": [(b"content-length", b"2")],
            }
        )
        await send({"type": "http.response.body", "body": b"{}"})

    with telemetry() as seen:
        async with served(stack(seen, application(fine))) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET /things/1 HTTP/1.1\r\nhost: a\r\n\r\n" * 5)
            for _ in range(5):
                head = await reader.readuntil(b"\r\n\r\n")
                assert b"x-request-id: " in head
                await reader.readexactly(2)
            writer.close()

        lines = [line for line in seen.lines() if line["event"] == "request_finished"]
        servers = [span for span in seen.ended if span.kind is SpanKind.SERVER]
        assert [span.parent for span in servers] == [None] * 5
        assert len({line["trace_id"] for line in lines}) == 5
        assert len({line["firedrill.request_id"] for line in lines}) == 5


async def test_a_caller_who_leaves_is_counted_and_leaves_nothing_active() -> None:
    left = asyncio.Event()
    waiting = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        waiting.set()
        while (await receive())["type"] != "http.disconnect":
            pass
        await answer(send)
        left.set()

    with telemetry() as seen:
        async with served(stack(seen, app)) as port:
            _reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET /things/1 HTTP/1.1\r\nhost: a\r\n\r\n")
            await waiting.wait()
            writer.close()
            await left.wait()

        labels = {"method": "GET", "route": "/things/{thing_id}"}
        assert seen.instruments.value("disconnects_total") == 1
        assert seen.instruments.value("active", **labels) == 0
        assert seen.line("request_finished")["firedrill.disconnected"] is True


TALKING_TO_NOBODY = """
import json, os, sys
from prometheus_client import CollectorRegistry, Counter
from firedrill_kit.telemetry import logs

registry = CollectorRegistry()
records = Counter("records", "d", ["level", "result"], registry=registry)
writer = logs.configure(
    service="api", version="1", instance="i", environment="test", level="info", format_="json",
    capacity=1000, records=records,
).writer
for number in range(20_000):
    logs.log.info("thing_happened", number=number)
complete = writer.stop(0.2)
count = lambda result: registry.get_sample_value(
    "records_total", {"level": "info", "result": result}) or 0
report = {"complete": complete, "written": count("written"), "dropped": count("dropped")}
sys.stderr.write(json.dumps(report))
"""


def test_a_process_whose_output_nobody_reads_works_and_exits() -> None:
    """Fails by the test's own time limit when a full pipe can hold the process."""
    read_end, write_end = os.pipe()
    try:
        finished = subprocess.run(
            [sys.executable, "-c", TALKING_TO_NOBODY],
            stdout=write_end,
            stderr=subprocess.PIPE,
            check=True,
            timeout=60,
        )
    finally:
        os.close(write_end)
        os.close(read_end)

    report = json.loads(finished.stderr)
    assert report["complete"] is False
    assert report["dropped"] > 18_000
    # The rest is one batch in the hands of the thread that could not finish writing it.
    assert 20_000 - 1000 <= report["dropped"] + report["written"] <= 20_000


def test_a_process_that_stops_at_once_has_written_every_line() -> None:
    finished = subprocess.run(
        [sys.executable, "-c", TALKING_TO_NOBODY.replace("20_000", "900")],
        capture_output=True,
        check=True,
        timeout=60,
    )

    assert json.loads(finished.stderr) == {"complete": True, "written": 900, "dropped": 0}
    numbers = [json.loads(line)["firedrill.number"] for line in finished.stdout.splitlines()]
    assert numbers == list(range(900))
