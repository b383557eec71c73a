"""What a drill is: data, and one fault or two."""

import importlib
import pkgutil
from collections.abc import Mapping
from dataclasses import dataclass, field

from loadtests import drills
from loadtests.faults.fault import Fault


@dataclass(frozen=True)
class Drill:
    """One drill.

    expects: the alerts that must page, one page each; none: it must stay silent.
    deadline_seconds: from the break to the page. also: alerts that may come with it, as an update of
    the same page or as a ticket. tickets: those that must come. evidence: PromQL that is above 0 as
    soon as a scrape shows the fault. holds_seconds: how long the fault lasts at least; a silent drill
    lasts for so long.
    """

    name: str
    what: str
    breaks: tuple[Fault, ...]
    expects: tuple[str, ...]
    deadline_seconds: float
    resolve_seconds: float = 120.0
    also: frozenset[str] = frozenset()
    tickets: frozenset[str] = frozenset()
    evidence: str = 'sum(rate(app_failures_total{job="service"}[15s]))'
    holds_seconds: float = 0.0
    warm_seconds: float = 45.0
    watch_after_seconds: float = 30.0
    rates: Mapping[str, float] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_silent(self) -> bool:
        return not self.expects and not self.tickets


def catalogue() -> dict[str, Drill]:
    """Every drill by name."""
    found = {}
    for module in pkgutil.iter_modules(drills.__path__):
        if module.name.startswith("_") or module.ispkg:
            continue
        drill: Drill = importlib.import_module(f"{drills.__name__}.{module.name}").DRILL
        found[drill.name] = drill
    return found
