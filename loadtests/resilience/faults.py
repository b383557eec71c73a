"""The faults that `python -m loadtests.resilience` measures, and the routes that must not notice each."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from loadtests.faults.database import column_away, kill_connections, lock
from loadtests.faults.fault import Fault, nothing
from loadtests.faults.network import cut
from loadtests.faults.process import restart
from loadtests.faults.provider import provider
from loadtests.world.description import DEMO
from loadtests.world.drill_app import BLOCK_SECONDS

_ALL = frozenset(DEMO.routes)


@dataclass(frozen=True)
class Measured:
    """unrelated: routes that must not notice. block_seconds: for how long the loop itself stands
    still, which no deadline can beat. extra: seconds between the requests of a route that is asked
    for only while the fault lasts. mends_itself: it is over once its cause has returned. needs: a part
    that not every machine has.
    """

    name: str
    what: str
    fault: Fault
    unrelated: frozenset[str]
    block_seconds: float = 0.0
    extra: Mapping[str, float] = field(default_factory=dict)
    mends_itself: bool = False
    needs: str = ""


FAULTS: tuple[Measured, ...] = (
    Measured("none", "nothing is broken", nothing("nothing"), _ALL),
    Measured(
        "database_refusing",
        "the database's port is closed, its connections are reset",
        cut("postgres", mode="refuse"),
        DEMO.unrelated_to("database"),
    ),
    Measured(
        "database_blackholed",
        "nothing moves between service and database",
        cut("postgres"),
        DEMO.unrelated_to("database"),
    ),
    Measured(
        "table_locked",
        "ACCESS EXCLUSIVE lock on the profiles",
        lock("profiles"),
        DEMO.unrelated_to("profiles"),
    ),
    Measured(
        "connections_killed",
        "every connection of the service is terminated each second",
        kill_connections(DEMO.session_name, every_seconds=1),
        DEMO.unrelated_to("database"),
    ),
    Measured(
        "database_restarted",
        "fast shutdown and start of PostgreSQL",
        restart("postgres"),
        DEMO.unrelated_to("database"),
        mends_itself=True,
    ),
    Measured(
        "cache_refusing",
        "the shared cache's port is closed",
        cut("cache", mode="refuse"),
        _ALL,
        needs="cache",
    ),
    Measured(
        "cache_blackholed",
        "nothing moves between service and shared cache",
        cut("cache"),
        _ALL,
        needs="cache",
    ),
    Measured(
        "cache_slow",
        "each way between service and shared cache takes 200 ms longer",
        cut("cache", mode="latency", latency_seconds=0.2),
        _ALL,
        needs="cache",
    ),
    Measured(
        "provider_refusing",
        "the provider's port is closed",
        cut("provider", mode="refuse"),
        DEMO.unrelated_to("provider"),
    ),
    Measured(
        "provider_hanging",
        "the provider takes connections and answers nothing",
        cut("provider"),
        DEMO.unrelated_to("provider"),
    ),
    Measured(
        "provider_500",
        "both endpoints of the provider answer 500",
        provider("", token={"mode": "error_500"}, calendar={"mode": "error_500"}),
        DEMO.unrelated_to("provider"),
    ),
    Measured(
        "provider_html",
        "both endpoints of the provider answer 200 with HTML",
        provider("", token={"mode": "html"}, calendar={"mode": "html"}),
        DEMO.unrelated_to("provider"),
    ),
    Measured(
        "provider_quota",
        "the project's quota at the provider is used up (403 rateLimitExceeded)",
        provider("", calendar={"mode": "rate_limit_exceeded"}),
        DEMO.unrelated_to("provider"),
    ),
    Measured(
        "column_dropped_optional",
        "settings.ai_models is gone",
        column_away("settings", "ai_models"),
        DEMO.unrelated_to("settings"),
    ),
    Measured(
        "column_dropped_required",
        "profiles.locale is gone",
        column_away("profiles", "locale"),
        DEMO.unrelated_to("profiles"),
    ),
    Measured(
        "unknown_exception",
        "a route of the drill's build raises what nothing names, 5 times a second",
        nothing("nothing"),
        _ALL,
        extra={"GET /drill/raise": 0.2},
    ),
    Measured(
        "loop_blocked",
        "a route of the drill's build holds the event loop for 3 s, every 9 s",
        nothing("nothing"),
        frozenset(),
        block_seconds=BLOCK_SECONDS,
        extra={"GET /drill/block": 9.0},
    ),
    Measured(
        "collector_blackholed",
        "nothing moves between service and trace collector",
        cut("collector"),
        _ALL,
    ),
)
