"""The renderer of our own against prometheus_client's, byte for byte."""

import time
from collections.abc import Callable
from statistics import median
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Enum,
    Gauge,
    Histogram,
    Info,
    Summary,
    disable_created_metrics,
    enable_created_metrics,
    generate_latest,
)
from prometheus_client.openmetrics import exposition as openmetrics

from firedrill_kit.telemetry import scrape

NAMES = st.from_regex(r"[a-z][a-z0-9_]{0,12}x", fullmatch=True)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
NUMBERS = st.floats(width=64) | st.integers(-(10**20), 10**20).map(float)
POSITIVE = st.floats(0, allow_infinity=False, allow_nan=False) | st.integers(0, 10**15).map(float)
EXEMPLARS = st.none() | st.dictionaries(NAMES, st.text('ab%"\\\n', max_size=5), max_size=2)
KINDS: tuple[Callable[..., Any], ...] = (Counter, Gauge, Histogram, Summary, Info, Enum)


@pytest.fixture(scope="module", autouse=True)
def _without_created() -> None:
    disable_created_metrics()  # type: ignore[no-untyped-call]


def same(registry: CollectorRegistry) -> None:
    assert scrape.plain(registry) == generate_latest(registry)
    official = openmetrics.generate_latest(registry)  # type: ignore[no-untyped-call]
    assert scrape.with_exemplars(registry) == official


@st.composite
def registries(draw: st.DrawFn) -> tuple[CollectorRegistry, Callable[[], None]]:
    """A registry, and what changes some of its values."""
    registry = CollectorRegistry()
    children: list[tuple[Any, Any]] = []
    for number, name in enumerate(draw(st.lists(NAMES, max_size=5))):
        kind = draw(st.sampled_from(KINDS))
        labels = draw(st.lists(NAMES, unique=True, max_size=3))
        more: dict[str, Any] = {"states": ["a", "b%"]} if kind is Enum else {}
        if kind is Histogram:
            more["buckets"] = sorted(draw(st.sets(st.floats(-5, 1e9), min_size=1, max_size=4)))
        if kind is Gauge or kind is Counter:
            more["unit"] = draw(st.sampled_from(["", "seconds"]))
        instrument = kind(f"m{number}_{name}", draw(TEXTS), labels, registry=registry, **more)
        children += [
            (kind, instrument.labels(*values) if labels else instrument)
            for values in draw(st.lists(st.tuples(*(TEXTS for _ in labels)), max_size=3))
        ]

    def change() -> None:
        for kind, child in children:
            if kind is Counter:
                child.inc(draw(POSITIVE), exemplar=draw(EXEMPLARS))
            elif kind is Histogram:
                child.observe(draw(NUMBERS), draw(EXEMPLARS))
            elif kind is Summary:
                child.observe(draw(NUMBERS))
            elif kind is Gauge:
                value = draw(NUMBERS)
                draw(st.booleans()) and child.set_function(lambda value=value: value)
                child.set(draw(NUMBERS))
            elif kind is Info:
                child.info({"a": draw(TEXTS)})
            else:
                child.state("b%")

    return registry, change


@settings(max_examples=150, deadline=None)
@given(registries())
def test_every_registry_reads_as_prometheus_client_renders_it(
    made: tuple[CollectorRegistry, Callable[[], None]],
) -> None:
    registry, change = made
    same(registry)

    change()

    same(registry)
    same(registry)


def test_children_that_were_removed_are_gone_and_may_come_back() -> None:
    registry = CollectorRegistry()
    gauge = Gauge("g", "d", ["l"], registry=registry)
    gauge.labels("a").set(1)
    gauge.labels("b").set(2)
    same(registry)

    gauge.remove("a")
    same(registry)
    gauge.clear()
    same(registry)
    gauge.labels("a").set(-0.0)
    same(registry)


def test_what_it_cannot_do_faster_is_left_to_the_official_renderer() -> None:
    same(CollectorRegistry(target_info={"service": "shop"}))


@pytest.mark.parametrize("kind", [Counter, Histogram, Summary])
def test_times_of_creation_are_left_out(kind: Callable[..., Any]) -> None:
    registry = CollectorRegistry()
    kind("c", "d", ["l"], registry=registry).labels("a")
    expected = openmetrics.generate_latest(registry)  # type: ignore[no-untyped-call]
    enable_created_metrics()  # type: ignore[no-untyped-call]
    try:
        assert scrape.with_exemplars(registry) == expected
    finally:
        disable_created_metrics()  # type: ignore[no-untyped-call]


def test_ten_thousand_series_take_a_tenth_of_the_official_time_at_most() -> None:
    """Process time, as nobody knows what else the machine does; 97 and 3 ms on a quiet one."""
    registry = CollectorRegistry()
    duration = Histogram("d_seconds", "d", ["method", "route", "status"], registry=registry)
    children = [duration.labels("GET", f"/{one}", "200") for one in range(600)]
    ways = (generate_latest, scrape.plain)
    took: dict[Any, list[float]] = {way: [] for way in ways}
    scrape.plain(registry)

    for number in range(5):
        for child in children:
            child.observe(0.01 * number)
        for way in ways:
            began = time.process_time()
            way(registry)
            took[way].append(time.process_time() - began)

    assert median(took[scrape.plain]) < median(took[generate_latest]) / 10


def test_what_cannot_be_read_is_left_to_prometheus_client(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    registry = CollectorRegistry()
    Counter("answers", "a", ["code"], registry=registry).labels("200").inc()
    monkeypatch.setattr(scrape._Family, "render", lambda *_, **__: 1 / 0)

    assert scrape.plain(registry) == generate_latest(registry)
