"""What begins with the server: once, with every loop, and without harm where it cannot."""

import asyncio
import io
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from fastapi import FastAPI

import firedrill_kit
from firedrill_kit import endpoint
from firedrill_kit.telemetry import logs
from tests.signals import Samples
from tests.unit.kit.asking import Asked, answered

COUNT = "http_server_request_duration_seconds_count"


def shop(lifespan: Any = None) -> FastAPI:
    app = FastAPI(lifespan=lifespan)

    @app.get("/items")
    async def items() -> str:
        return "shoes"

    return app


async def lived(app: FastAPI) -> None:
    """Start and stop the application, as a server does."""
    coming = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]

    async def receive() -> dict[str, str]:
        return coming.pop(0)

    async def send(message: Any) -> None:
        assert message["type"].endswith("complete")

    await app({"type": "lifespan", "state": {}}, receive, send)


async def test_what_cannot_begin_is_not_tried_with_each_request(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ports: list[int] = []

    def refuse(**_: Any) -> logs.Lines:
        raise OSError

    monkeypatch.setattr(endpoint, "serve", lambda *_, port, **__: ports.append(port))
    monkeypatch.setattr(logs, "open_lines", refuse)
    app = shop()
    firedrill_kit.instrument(app, metrics_port=1)

    answers = [await answered(app, Asked("/items")) for _ in range(3)]

    assert [answer[0]["status"] for answer in answers] == [200, 200, 200]
    assert ports == [1]


async def test_stdout_may_be_no_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    app, before = shop(), Samples()
    firedrill_kit.instrument(app, metrics_port=0)

    await answered(app, Asked("/items"))

    assert before.grown(COUNT, http_route="/items") == 1


async def test_an_application_may_be_instrumented_while_it_starts() -> None:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        firedrill_kit.instrument(app, metrics_port=0, logs="off")
        yield

    app, before = shop(lifespan), Samples()
    await lived(app)

    await answered(app, Asked("/items"))

    assert before.grown(COUNT, http_route="/items") == 1


def test_every_loop_that_runs_the_application_is_watched() -> None:
    app = shop()
    instrumentation = firedrill_kit.instrument(app, metrics_port=0, logs="off")

    async def run() -> bool:
        await lived(app)
        timer = instrumentation._loop._timer
        assert timer
        return timer.when() > asyncio.get_running_loop().time() and not timer.cancelled()

    assert asyncio.run(run())
    first = instrumentation._loop._timer
    assert asyncio.run(run())
    assert instrumentation._loop._timer is not first
