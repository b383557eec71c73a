"""A drill of the shop's own file on the shop that runs: a real lock, a real page, and its proof."""

import json
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from loadtests.judge.judgement import BIN_SECONDS
from stack.serving import free_port
from stack.settings import OF_THE_DEMO, OF_THE_SERVICE, ROOT
from tests.examples.running import PASSWORD, USER, Example, prepared
from tests.stack.conftest import Stack, free_ports

PATIENCE_SECONDS = "2"
"""The shop's wait for a connection: with its own 30 s it does not recover (docs/adopting.md)."""
RATE = 12
"""Requests a second of the locked table, in place of the file's 45: enough to hold 60 connections."""
WITHIN_SECONDS = 240
"""In place of the file's 75: what is tested is that the page comes, on a machine that is busy too."""


@pytest.fixture(scope="module")
async def shop(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Example]:
    async with prepared("shop", tmp_path_factory.mktemp("drilled")) as example:
        with example.started({"POOL_TIMEOUT_SECONDS": PATIENCE_SECONDS}):
            yield example


@pytest.fixture(scope="module")
async def around(shop: Example, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    """The stack around it, as `make up SERVICE=` starts it; the file is the shop's, with other ports."""
    folder = tmp_path_factory.mktemp("around")
    text = (shop.folder / "firedrill.toml").read_text()
    start, _, rest = text.partition("[process]")
    text = (start + rest[rest.index("[[drill]]") :]).replace(
        "within = 75", f"within = {WITHIN_SECONDS}"
    )
    text = text.replace("= 45", f"= {RATE}")
    ports = f'metrics_port = {shop.metrics_port}\naddress = "{shop.url}"'
    text = text.replace("metrics_port = 9464", ports).replace(":4318", f":{free_port()}")
    file = folder / "firedrill.toml"
    file.write_text(text)
    variables = {
        "SERVICE": str(file),
        "PROBE_USER": USER,
        "PROBE_PASSWORD": PASSWORD,
        "FIREDRILL_ADMIN_DSN": shop.postgres.dsn("owner"),
    }
    not_taken = {*OF_THE_DEMO, *OF_THE_SERVICE, "otlp"}
    moved = {name: port for name, port in free_ports().items() if name not in not_taken}
    stack = Stack(folder / "local", moved, variables)
    try:
        stack.up()
        yield stack
    finally:
        stack.run("clean")
    assert stack.processes() == []


def run(stack: Stack, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *command],
        cwd=ROOT,
        env=stack.environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def drilled(around: Stack) -> tuple[str, dict[str, Any]]:
    """What the drill printed, and its record."""
    done = run(around, "loadtests.drills", "db_pool_exhausted")
    assert done.returncode in {0, 1}, done.stderr
    record = Path(around.variables["SERVICE"]).parent / ".local" / "records" / "drills.json"
    (row,) = json.loads(record.read_text())["drills"]
    return done.stdout, row


@pytest.mark.timeout(900)
def test_the_lock_pages_by_its_name_and_the_page_is_resolved(
    drilled: tuple[str, dict[str, Any]],
) -> None:
    said, row = drilled

    assert row["service"] == "shop"
    assert 0 < row["paged_seconds"]["DbPoolExhausted"] <= WITHIN_SECONDS, said
    assert row["runbook_has_data"] == {"DbPoolExhausted": True}
    assert row["resolve_seconds"] is not None, said
    assert row["recovery_seconds"] is not None, said
    # Before the break the shop serves: an answer that blames the caller says that the load is wrong.
    before = [one for one in row["bins"] if one["at"] + BIN_SECONDS <= row["injected_at_seconds"]]
    assert {kind for one in before for kind in one} == {"at", "sent", "2xx"}, said


@pytest.mark.timeout(900)
async def test_nothing_is_left_of_the_fault(
    drilled: tuple[str, dict[str, Any]], shop: Example, around: Stack
) -> None:
    assert drilled
    connection = await asyncpg.connect(shop.postgres.dsn("owner"))
    try:
        held = await connection.fetchval(
            "SELECT count(*) FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND relation = "
            "'public.user'::regclass"
        )
    finally:
        await connection.close()

    assert held == 0
    assert not (around.local / "to_mend.json").exists()


@pytest.mark.timeout(900)
def test_check_says_which_alert_the_drill_has_proven(
    drilled: tuple[str, dict[str, Any]], around: Stack
) -> None:
    _, row = drilled

    done = run(around, "alerting.coverage", around.variables["SERVICE"])

    (line,) = (one for one in done.stdout.splitlines() if one.startswith("DbPoolExhausted "))
    seconds = row["paged_seconds"]["DbPoolExhausted"]
    assert line.split(maxsplit=1)[1] == f"db_pool_exhausted, {seconds:.0f} s"


@pytest.mark.timeout(900)
def test_the_mix_of_the_file_is_sent_and_served(
    drilled: tuple[str, dict[str, Any]], around: Stack
) -> None:
    assert drilled, "the shop is not both drilled and loaded at a time"
    before = set((around.local / "reports").glob("*.json"))

    done = run(around, "loadtests", "steady", "--duration", "6")

    (file,) = set((around.local / "reports").glob("*.json")) - before
    (phase,) = json.loads(file.read_text())["phases"]
    assert done.returncode in {0, 1, 2}, done.stderr
    assert phase["requests"] > 60, done.stderr
    assert set(phase["statuses"]) == {"200"}, phase
