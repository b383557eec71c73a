"""The kit, put on applications of one process that has other tests in it."""

import logging
from collections.abc import Iterator

import pytest
from opentelemetry import trace

from firedrill_kit.telemetry import guard
from tests.unit.telemetry.instruments import restored


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What a process has one of is put back; the global tracer provider cannot be, so it is not set."""
    monkeypatch.setattr(logging.Logger, "makeRecord", logging.Logger.makeRecord)
    monkeypatch.setattr(trace, "set_tracer_provider", lambda _provider: None)
    monkeypatch.setattr(guard, "_report", guard._report)
    monkeypatch.delenv("FIREDRILL_DISABLED", raising=False)
    # The repository's own file describes the demo.
    monkeypatch.setenv("FIREDRILL_CONFIG", "")
    with restored():
        yield
