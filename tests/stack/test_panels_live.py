"""Every query of every dashboard, asked of the stack's own Prometheus after a little traffic."""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import asyncpg
import httpx
import pytest

from dashboards import prove
from stack.credentials import load_credentials
from stack.postgres import dsn
from stack.waiting import PATIENCE_SECONDS, until
from tests.stack.conftest import Stack

CLIENTS = ("web/1.8", "web/1.9", "ios/3.2")
LOCKED_REQUESTS = 6
"""Each fails after the lock timeout; ten would page."""


@pytest.fixture
def callers(stack: Stack, api: httpx.Client) -> Callable[[], None]:
    """Sends one of everything: good, rejected, unauthorised, forged, and a refresh."""
    form = {"username": "user05@example.com", "password": "not this one"}

    def send() -> None:
        for client in CLIENTS:
            headers = {"X-Client-Version": client}
            api.get("/api/v1/profile", headers=headers)
            api.get("/api/v1/settings", headers=headers)
            api.put("/api/v1/profile", headers=headers, json={"display_name": 7})
        httpx.post(stack.url("provider", "/_expire"), json={}).raise_for_status()
        api.post("/api/v1/calendar/sync/auto")
        with httpx.Client(base_url=stack.url("service"), timeout=20) as stranger:
            stranger.get("/api/v1/profile", headers={"Authorization": "Bearer nonsense"})
            stranger.post("/api/v1/auth/token", data=form)

    return send


async def _ask_while_locked(stack: Stack, headers: httpx.Headers) -> list[int]:
    """The statuses of reads of a table that somebody else holds."""
    password = load_credentials(stack.local).postgres_owner
    owner = await asyncpg.connect(dsn("owner", password, stack.ports["postgres"]), timeout=10)
    try:
        async with (
            owner.transaction(),
            httpx.AsyncClient(base_url=stack.url("service"), headers=headers) as client,
        ):
            await owner.execute("LOCK TABLE profiles IN ACCESS EXCLUSIVE MODE")
            answers = [client.get("/api/v1/profile", timeout=20) for _ in range(LOCKED_REQUESTS)]
            return [answer.status_code for answer in await asyncio.gather(*answers)]
    finally:
        await owner.close()


@pytest.mark.timeout(600)
def test_every_panel_has_data_but_for_those_that_need_a_drill(
    stack: Stack, api: httpx.Client, callers: Callable[[], None]
) -> None:
    """The lock makes what only failures fill; what else a drill fills is listed and stays out."""
    with ThreadPoolExecutor(1) as thread:
        statuses = thread.submit(asyncio.run, _ask_while_locked(stack, api.headers)).result()
    assert 503 in statuses
    done = {"callers", "db_queries_slow", "validation_break_all_clients", "signing_key_rotated"}

    with httpx.Client(base_url=stack.url("prometheus"), timeout=30) as client:
        get = prove.client_get(client)
        proofs: list[prove.Proof] = []

        def proven() -> bool:
            callers()
            proofs.append(prove.prove(get, now=time.time(), after=done))
            return proofs[-1].holds

        # The rules of long windows, the budgets among them, come once a minute and need two scrapes.
        until(
            proven, "data in every panel that needs no other drill", seconds=5 * PATIENCE_SECONDS
        )

    figures = proofs[-1].figures()
    assert figures["share_of_required_with_data"] == 1.0
    assert (figures["errors"], figures["warnings"]) == ({}, {})
    assert figures["queries"] >= 160


def test_a_prometheus_that_is_not_there_is_one_line_and_exit_2(
    stack: Stack, capsys: pytest.CaptureFixture[str]
) -> None:
    assert prove.main(["--prometheus", "http://127.0.0.1:1"]) == 2

    said = capsys.readouterr().err
    assert said.startswith("dashboards.prove: http://127.0.0.1:1: ")
    assert said.count("\n") == 1


def test_a_server_that_is_no_prometheus_is_told_as_errors_not_as_data(
    stack: Stack, capsys: pytest.CaptureFixture[str]
) -> None:
    assert prove.main(["--prometheus", stack.url("viewer")]) == 1

    assert "error    landing / Pages firing / A: " in capsys.readouterr().out
