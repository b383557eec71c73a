from collections.abc import Mapping

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from firedrill_kit.telemetry import guard
from firedrill_kit.telemetry.collectors import CallbackGauge


def test_the_series_are_what_is_read_at_each_scrape() -> None:
    registry = CollectorRegistry()
    gauge = CallbackGauge("held_seconds", "d", ["pool", "route"], registry=registry)
    ages: dict[tuple[str, ...], float] = {("app", "/a"): 1.5}
    gauge.read = lambda: ages

    first = registry.get_sample_value("held_seconds", {"pool": "app", "route": "/a"})
    ages.clear()
    second = registry.get_sample_value("held_seconds", {"pool": "app", "route": "/a"})

    assert (first, second) == (1.5, None)


def test_a_reading_that_fails_costs_its_gauge_and_not_the_scrape(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reported: list[str] = []
    monkeypatch.setattr(guard, "_report", lambda where, _error: reported.append(where))
    registry = CollectorRegistry()
    gauge = CallbackGauge("held_seconds", "d", ["pool"], registry=registry)
    fine = CallbackGauge("other_seconds", "d", ["pool"], registry=registry)

    def broken() -> Mapping[tuple[str, ...], float]:
        raise RuntimeError

    gauge.read = broken
    fine.read = lambda: {("app",): 2.0}

    assert b'other_seconds{pool="app"} 2.0' in generate_latest(registry)
    assert reported == ["collectors"]
