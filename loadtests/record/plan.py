"""All that docs/ claims, as runs: data, in the order in which `make record` takes them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from loadtests.record import drills, record
from stack.settings import ROOT

SIDE_BY_SIDE = 2
"""Drills; each takes 0.7 of a core: with three side by side on two cores the load average was 12."""
BEFORE = "83899c6"
"""The last commit before the kit's own spans and the shorter path of the service; the bench measures both."""
SEEDS = (2, 3, 4, 5)
"""Further seeds of the drills below; every drill runs with seed 1."""
WITH_MORE_SEEDS: Mapping[str, str] = {
    "service_killed": "a total outage: nothing may be slower to page",
    "service_frozen": "a total outage in which every port still accepts",
    "postgres_down": "a total outage of what every route needs",
    "postgres_blackholed": "the same without an error: only time tells",
    "db_pool_exhausted": "the fault that load alone can cause",
    "schema_column_dropped": "a release and a schema that do not fit",
    "oauth_client_rejected": "nobody's calendar is refreshed any more",
    "provider_down": "a dependency is away, the service is not",
    "validation_break_all_clients": "4xx only: no rule for 5xx sees it",
    "overload": "the machine is busy by itself: a page too many comes first here",
}
CONFIGURATIONS: Mapping[str, Sequence[str]] = {
    "firedrill": (
        *("steady", "spike", "capacity", "pool_exhaustion", "oauth_refresh", "provider_slow"),
        *("retry_storm", "login_storm", "bad_client", "soak"),
    ),
    "two_replicas": ("capacity", "pool_exhaustion"),
    "plain": ("pool_exhaustion", "oauth_refresh"),
}
"""The load scenarios by configuration; `loadtests.report` shortens steady and soak, and says so."""
FAULTS = (
    *("none", "database_refusing", "database_blackholed", "table_locked", "connections_killed"),
    *("database_restarted", "cache_refusing", "cache_blackholed", "cache_slow"),
    *("provider_refusing", "provider_hanging", "provider_500"),
    *("provider_html", "provider_quota", "column_dropped_optional", "column_dropped_required"),
    *("unknown_exception", "loop_blocked", "collector_blackholed"),
)


@dataclass(frozen=True)
class Run:
    """One command, whose record and page go into a directory of its own.

    key: its name, unique in the plan. result: the file without which it has none. words: of Python's
    command line. needs_stack: a stack of its own runs meanwhile. needs_quiet: it measures CPU, so
    nothing else may; it is waited for.
    """

    key: str
    result: str
    words: tuple[str, ...]
    needs_stack: bool = False
    needs_quiet: bool = False


Batch = Sequence[Run]
"""Runs side by side: the next ones begin when all have ended."""


def whole() -> list[Batch]:
    """Everything."""
    costs = [
        Run(
            "costs/benchmarks",
            "benchmarks.json",
            ("-m", "loadtests.bench", *_against()),
            needs_quiet=True,
        ),
        Run(
            "costs/cache",
            "cache_settings.json",
            ("-m", "loadtests.costs.cache"),
            needs_quiet=True,
        ),
        Run(
            "costs/collector",
            "collector.json",
            ("-m", "loadtests.costs.collector"),
            needs_quiet=True,
        ),
        Run(
            "costs/first_data",
            "first_data.json",
            ("-m", "loadtests.costs.first_data"),
            needs_quiet=True,
        ),
        *(
            Run(
                f"costs/{name}", result, ("-m", f"loadtests.costs.{name}", *more), needs_stack=True
            )
            for name, result, more in (
                ("memory", "memory.json", ("--scenario", "steady")),
                ("scaling", "scaling.json", ()),
                ("request", "request.md", ()),
            )
        ),
        Run("mutation", "mutation.md", ("-m", "alerting.mutate")),
    ]
    return [*_drills(), *([run] for run in (*_load(), *_resilience(), *costs))]


def runs() -> list[Run]:
    """The runs of all batches."""
    return [run for batch in whole() for run in batch]


def _against() -> Sequence[str]:
    """The option of the benchmark that names BEFORE; nothing where the checkout has no history."""
    return ("--against", BEFORE) if record.git("cat-file", "-t", BEFORE) else ()


def _drills() -> Iterator[Batch]:
    files = (ROOT / "loadtests" / "drills").glob("[a-z]*.py")
    took = {row["name"]: row["load_seconds"] for row in drills.read(record.DOCS)["drills"]}
    # Those of a length together, the longest first: a batch lasts as long as its longest.
    names = sorted((file.stem for file in files), key=lambda name: (-took.get(name, 0.0), name))
    seeded = [(name, 1) for name in names]
    seeded += [(name, seed) for name in names if name in WITH_MORE_SEEDS for seed in SEEDS]
    for first in range(0, len(seeded), SIDE_BY_SIDE):
        yield [
            Run(
                f"drills/{name}/{seed}",
                "drills.json",
                ("-m", "loadtests.drills", name, "--seed", str(seed), "--lane", str(lane)),
            )
            for lane, (name, seed) in enumerate(seeded[first : first + SIDE_BY_SIDE])
        ]


def _load() -> Iterator[Run]:
    for configuration, names in CONFIGURATIONS.items():
        for name in names:
            words = ("-m", "loadtests.report", "--only", name, "--configuration", configuration)
            yield Run(f"load/{configuration}/{name}", "load.json", words)


def _resilience() -> Iterator[Run]:
    for configuration, more in (("firedrill", ()), ("plain", ("--plain",))):
        for fault in FAULTS:
            words = ("-m", "loadtests.resilience", "--only", fault, *more)
            yield Run(f"resilience/{configuration}/{fault}", "resilience.json", words)
