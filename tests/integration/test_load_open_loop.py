"""The generator against a server that stalls: a closed loop would wait with it and see nothing."""

import asyncio
import json
import os
import signal
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

from loadtests.judge.limits import percentile
from loadtests.traffic import launch
from loadtests.traffic.demo_callers import demo_callers
from loadtests.traffic.engine import Load as AsyncLoad
from loadtests.traffic.launch import Target
from loadtests.traffic.phases import Phase, arrivals
from loadtests.world.description import DEMO

STALL_SECONDS = 3.0
SECONDS = 10.0


class StallingServer:
    """Answers everything with 200, and once, from its 100th request on, nothing for three seconds."""

    def __init__(self) -> None:
        self.app = FastAPI()
        self.app.add_api_route(
            "/{path:path}", self.answer, methods=["GET", "POST", "PUT"], response_model=None
        )
        self.answered = 0
        self.traceparents: set[str] = set()

    async def answer(self, request: Request) -> JSONResponse:
        self.answered += 1
        self.traceparents.add(request.headers.get("traceparent", ""))
        if self.answered == 100:
            time.sleep(STALL_SECONDS)  # noqa: ASYNC251 - the whole server, not one request
        return JSONResponse({"access_token": "t"}, headers={"Set-Cookie": "session=s"})


@asynccontextmanager
async def served(server: StallingServer) -> AsyncIterator[str]:
    """Gives the host."""
    serving = uvicorn.Server(
        uvicorn.Config(server.app, port=0, log_config=None, lifespan="off", access_log=False)
    )
    task = asyncio.create_task(asyncio.to_thread(serving.run))
    while not serving.started:
        await asyncio.sleep(0.01)
    yield f"http://127.0.0.1:{serving.servers[0].sockets[0].getsockname()[1]}"
    serving.should_exit = True
    await task


@dataclass
class Load:
    """A load test that runs. said: what it has printed."""

    process: asyncio.subprocess.Process
    said: Path
    file: Path

    @property
    def record(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.file.read_text())
        return found


SLOW_WORKERS = """
import runpy
import gevent
from locust.runners import WorkerRunner
connect = WorkerRunner.connect_to_master
# As on a busy machine: the master says "spawn" before the worker's runner is known to anybody.
WorkerRunner.connect_to_master = lambda self: (connect(self), gevent.sleep(2))[0]
runpy.run_module("locust", run_name="__main__")
"""


async def started(
    host: str,
    directory: Path,
    scenario: str = "steady",
    *,
    program: Sequence[str] = ("-m", "locust"),
    **options: Any,
) -> Load:
    file, said = directory / "record.json", directory / "said"
    words = launch.command(scenario, Target([host]), **{"rate": 40, "seconds": SECONDS, **options})
    words[1:3] = program
    with said.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *words,
            env={**os.environ, "LOADTEST_RECORD": str(file)},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    return Load(process, said, file)


async def record_of(
    server: StallingServer, directory: Path, scenario: str = "steady"
) -> dict[str, Any]:
    async with served(server) as host:
        load = await started(host, directory, scenario)
        assert await load.process.wait() in {1, 2}
    return load.record


async def test_a_stall_of_three_seconds_is_in_the_percentiles(tmp_path: Path) -> None:
    server = StallingServer()

    record = await record_of(server, tmp_path)

    (phase,) = record["phases"]
    # 3 of 10 seconds of arrivals waited, 1.5 s in the mean; a closed loop of 20 users sees 20 of them.
    assert phase["requests"] == sum(phase["statuses"].values()) > 300
    assert phase["seconds_p95"] > STALL_SECONDS / 2
    assert phase["seconds_p50"] < 1.0
    broken = [limit["name"] for limit in record["limits"] if not limit["holds"]]
    assert "answers beyond the deadline" in broken
    assert len(server.traceparents) > 300


async def test_a_stall_is_in_the_samples_of_the_loop_on_asyncio_as_well() -> None:
    dues = list(arrivals([Phase("steady", 6, DEMO.steady_mix)], seed=1))
    async with served(StallingServer()) as host:
        load = AsyncLoad([host], demo_callers(["t", "u"], browser={}).request)
        await load.run(dues)

    assert sorted(one.due for one in load.samples) == [due.at for due in dues]
    assert {one.status for one in load.samples} == {200}
    # 3 of 6 seconds of arrivals waited, 1.5 s in the mean.
    assert percentile([one.seconds for one in load.samples], 0.8) > STALL_SECONDS / 3


async def test_nothing_is_broken_where_nobody_has_said_what(tmp_path: Path) -> None:
    """The stack of this checkout must not be broken while another host is loaded."""
    record = await record_of(StallingServer(), tmp_path, "pool_exhaustion")

    assert "LOADTEST_OWNER_DSN" in record["void"]
    assert record["requests"] == 0


async def test_two_workers_send_all_that_was_planned(tmp_path: Path) -> None:
    async with served(StallingServer()) as host:
        load = await started(host, tmp_path, reports=tmp_path / "reports", processes=2)
        await load.process.wait()

    assert load.record["requests"] == load.record["planned"] > 200
    assert "Traceback" not in load.said.read_text()


async def test_a_load_test_that_is_interrupted_has_no_verdict(tmp_path: Path) -> None:
    async with served(StallingServer()) as host:
        load = await started(host, tmp_path)
        while "phase steady" not in load.said.read_text():
            await asyncio.sleep(0.1)

        load.process.send_signal(signal.SIGINT)
        await load.process.wait()

    assert load.record["void"] == "it was ended before its last phase"
    assert load.record["limits"] == []


async def test_workers_that_are_told_to_start_before_they_are_ready(tmp_path: Path) -> None:
    async with served(StallingServer()) as host:
        load = await started(host, tmp_path, processes=2, program=("-c", SLOW_WORKERS))
        await load.process.wait()

    assert load.record["requests"] == load.record["planned"] > 200
    assert "Traceback" not in load.said.read_text()


async def test_a_worker_that_is_killed_makes_the_result_void(tmp_path: Path) -> None:
    async with served(StallingServer()) as host:
        load = await started(host, tmp_path, reports=tmp_path / "reports", processes=2)
        while "phase steady" not in load.said.read_text():
            await asyncio.sleep(0.1)
        killed, _other = psutil.Process(load.process.pid).children()

        killed.kill()
        code = await load.process.wait()

    assert code == 2
    assert 0 < load.record["requests"] < load.record["planned"]
    assert "planned requests" in load.record["void"]
    assert "Traceback" not in load.said.read_text()
