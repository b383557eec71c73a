"""A service that cannot be seen does not start: it would look healthy and say nothing."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from stack.postgres import Postgres
from stack.serving import free_port

ROOT = Path(__file__).parents[2]
UNINSTALLED = """
import runpy, sys
sys.modules["opentelemetry.instrumentation.sqlalchemy"] = None  # as if it were not installed
runpy.run_module("service", run_name="__main__")
"""
SPANLESS = """
import runpy
from firedrill_kit.telemetry.statement_spans import StatementHook
StatementHook._leave_span = lambda *given: None
runpy.run_module("service", run_name="__main__")
"""
OFFICIALLY_SPANLESS = """
import runpy
from opentelemetry.instrumentation.sqlalchemy import engine
# As a version of the instrumentation whose listeners do nothing.
engine.EngineTracer._before_cur_exec = lambda self, *given: given[2:4]
runpy.run_module("service", run_name="__main__")
"""


def start(
    program: str, postgres: Postgres, way: str = "contrib"
) -> subprocess.CompletedProcess[str]:
    values = {
        "DATABASE_PORT": str(postgres.port),
        "DATABASE_PASSWORD": postgres.passwords["app"],
        "TOKEN_KEYS": f"a={'k' * 32}",
        "GRANT_KEYS": f"g1={'g' * 32}",
        "SESSION_KEY": "s" * 32,
        "OTLP_ENDPOINT": "",
        "TELEMETRY_INSTRUMENTATION": way,
        # It is never opened. The internal one is, before the check.
        "SERVICE_PORT": "1",
        "SERVICE_INTERNAL_PORT": str(free_port()),
    }
    return subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env=os.environ | values,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def events(output: str) -> list[str]:
    return [json.loads(line)["event"] for line in output.splitlines()]


def test_without_the_statement_instrumentation_it_ends_with_1(migrated: Postgres) -> None:
    ended = start(UNINSTALLED, migrated)

    assert ended.returncode == 1
    assert {"instrumentation_inactive", "service_not_started"} <= set(events(ended.stdout))
    assert ended.stderr == (
        "service: opentelemetry-instrumentation-sqlalchemy is not installed;"
        " one statement left 0 client spans instead of 1\n"
    )


@pytest.mark.parametrize(
    ("program", "way"), [(SPANLESS, "fast"), (OFFICIALLY_SPANLESS, "contrib")]
)
def test_with_an_instrumentation_that_does_nothing_it_ends_with_1(
    program: str, way: str, migrated: Postgres
) -> None:
    ended = start(program, migrated, way)

    assert ended.returncode == 1
    assert {"instrumentation_inactive", "service_not_started"} <= set(events(ended.stdout))
    assert "one statement left 0 client spans instead of 1" in ended.stderr
