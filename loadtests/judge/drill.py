"""What a drill is, as data, and what happened in one: the two that are judged against each other."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from loadtests.faults.fault import Fault
from loadtests.observe import pager
from loadtests.observe.memory import Peaks
from loadtests.observe.pager import Notice
from loadtests.traffic.sample import Sample


@dataclass(frozen=True)
class Drill:
    """One drill.

    expects: the alerts that must page, one page each; none: it must stay silent. deadline_seconds: from
    the break to the page. also: alerts that may come with it, as an update of the same page or as a
    ticket. may_follow: whether those may page by themselves, and the expected one come as an update of a
    page: a symptom is there first where callers wait long for a connection. tickets: those that must come.
    evidence: PromQL that is above 0 as soon as a scrape shows the fault. rates: requests a second of its
    own, in place of the steady mix's; mix_ratio: what is sent of the others, 0-1. holds_seconds: how long
    the fault lasts at least; a silent drill lasts for so long.
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
    mix_ratio: float = 1.0
    environment: Mapping[str, str] = field(default_factory=dict)
    may_follow: bool = False

    @property
    def is_silent(self) -> bool:
        return not self.expects and not self.tickets


@dataclass
class Course:
    """What happened, in seconds since 1970."""

    drill: Drill
    seed: int
    started: float = 0.0
    injected: float = 0.0
    mended: float = 0.0
    ended: float = 0.0
    found: list[Notice] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    load_average: float = 0.0
    fired: dict[str, dict[str, float]] = field(default_factory=dict)
    first_bad: float | None = None
    references: dict[str, float | None] = field(default_factory=dict)
    signals: dict[str, Any] = field(default_factory=dict)
    confirmed: dict[str, bool] = field(default_factory=dict)
    memory: Peaks = field(default_factory=Peaks)

    @property
    def rang(self) -> list[Notice]:
        """The pages since the break, oldest first."""
        return pager.pages(self.found, since=self.injected)

    @property
    def qualifying(self) -> list[Notice]:
        """What counts as an expected page: the pages, and with `may_follow` also the updates of a page."""
        if not self.drill.may_follow:
            return self.rang
        return [
            one
            for one in self.found
            if one.is_of_a_page and one.status == "firing" and one.at >= self.injected
        ]
