"""Good files: what is left out, what follows from several sections together, and the demo's own."""

from pathlib import Path

import pytest

from firedrill_kit import metrics
from firedrill_kit.config import FILE, Config, Route, SloClass, parse, read
from firedrill_kit.config.reference import examples
from stack.demo import USERS
from stack.settings import DEFAULT_PORTS, ROOT

NAMED = '[service]\nname = "shop"\n'


@pytest.fixture(scope="module")
def demo() -> Config:
    return read(ROOT / FILE)


def test_a_name_is_enough() -> None:
    config = parse(NAMED)

    assert config.service.address == "http://127.0.0.1:8000"
    assert config.slo_classes == ()
    assert config.routes == config.probes == {}
    assert config.route("GET /items") == Route(
        rate=0.0, deadline_seconds=2.0, caller="anybody", path="/items"
    )


def test_the_examples_of_the_reference_are_one_good_file() -> None:
    config = parse(examples())

    assert [drill.breaks.kind for drill in config.drills] == [
        "lock",
        "blackhole",
        "latency",
        "send",
    ]


def test_a_route_takes_from_its_section_what_it_does_not_say() -> None:
    config = parse(
        NAMED
        + """
        [client]
        headers = {X-Api-Key = "$KEY"}
        [load]
        deadline = {read = 1, write = 4}
        caller.leaving = {what = "a session that ends", uses_up = true}
        [load.mix]
        "GET /items" = 12
        "POST /items" = {rate = 3, json = {title = "load"}, needs = ["database"]}
        "DELETE /sessions/{id}" = {path = "/sessions/1?all=1", caller = "leaving", deadline = 9}
        """
    )

    assert config.routes == {
        "GET /items": Route(12, 1, "account", "/items"),
        "POST /items": Route(
            3, 4, "account", "/items", frozenset({"database"}), {"title": "load"}
        ),
        "DELETE /sessions/{id}": Route(0, 9, "leaving", "/sessions/1?all=1", uses_up=True),
    }


def test_a_probe_is_asked_for_as_the_mix_says() -> None:
    config = parse(
        NAMED
        + """
        [probe]
        routes = ["GET /ping", "GET /items/{id}"]
        [load.mix]
        "GET /items/{id}" = {path = "/items/1", deadline = 5}
        """
    )

    assert {name: one.path for name, one in config.probes.items()} == {
        "GET /ping": "/ping",
        "GET /items/{id}": "/items/1",
    }
    assert config.probes["GET /items/{id}"].deadline_seconds == 5


def test_the_class_of_all_other_routes_comes_last() -> None:
    config = parse(
        NAMED
        + """
        [slo]
        objective = 0.999
        fast_within = 0.25
        [slo.class.slow]
        routes = ["/reports/*"]
        objective = 0.99
        page = false
        [slo.class.health]
        routes = ["/health"]
        """
    )

    slow, health, others = config.slo_classes
    assert slow == SloClass(
        name="slow",
        routes=("/reports/*",),
        objective=0.99,
        fast_within_seconds=None,
        pages=False,
    )
    assert (health.name, health.objective) == ("health", None)
    assert (others.name, others.routes, others.fast_within_seconds) == ("default", None, 0.25)


def test_the_bounds_of_latency_are_those_of_the_histogram() -> None:
    from firedrill_kit.config.objectives import BUCKETS  # noqa: PLC0415 - not part of the package

    assert tuple(metrics.HTTP_REQUEST_SECONDS._upper_bounds[:-1]) == BUCKETS


def test_a_directory_is_relative_to_the_file(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text(NAMED + '[process]\nstart = "run"\ndirectory = "backend"\n')

    config = read(tmp_path)

    assert config.process is not None
    assert config.process.directory == tmp_path / "backend"


def test_what_a_drill_locks_may_be_locked() -> None:
    config = parse(
        NAMED
        + """
        [database]
        admin_dsn = "$DSN"
        [[drill]]
        name = "locked"
        break = {lock = "items"}
        pages = ["DbPoolExhausted"]
        within = 60
        """
    )

    assert config.lockable == {"items"}


def test_a_drill_without_alerts_is_silent() -> None:
    config = parse(NAMED + '[[drill]]\nname = "quiet"\nbreak = {nothing = true}\nholds = 1800\n')

    assert config.drills[0].is_silent


def test_the_demo_is_where_the_stack_puts_it(demo: Config) -> None:
    assert demo.service.address.endswith(f":{DEFAULT_PORTS['service']}")
    assert demo.service.metrics_port == DEFAULT_PORTS["service_internal"]
    assert demo.service.otlp.endswith(f":{DEFAULT_PORTS['otlp']}")
    assert demo.links.dashboards.endswith(f":{DEFAULT_PORTS['viewer']}")
    assert demo.upstream["provider"].address.endswith(f":{DEFAULT_PORTS['provider']}")


def test_every_account_of_the_demo_is_seeded(demo: Config) -> None:
    assert demo.load.accounts == USERS


def test_the_mix_of_the_demo_is_forty_requests_a_second(demo: Config) -> None:
    """Half of the capacity: the figures of docs/ are measured with it."""
    assert sum(route.rate for route in demo.routes.values()) == 40


def test_nothing_of_a_config_can_be_changed(demo: Config) -> None:
    with pytest.raises(ValueError, match="frozen"):
        demo.service.workers = 2  # type: ignore[misc]
