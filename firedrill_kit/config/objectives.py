"""[slo]: what the routes are promised, and the classes that the alert rules are made of."""

import fnmatch
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

from pydantic import AfterValidator, Field

from firedrill_kit.config.types import Name, Section, Several, Share, Template

BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)
"""Bounds of `http_server_request_duration_seconds`: a threshold between two of them counts nothing."""
DEFAULT = "default"


def _bound(seconds: float) -> float:
    if seconds not in BUCKETS:
        bounds = ", ".join(f"{bound:g}" for bound in BUCKETS)
        raise ValueError(f"the histogram has no such bound; write one of {bounds}")
    return seconds


Bound = Annotated[float, AfterValidator(_bound)]


class Class(Section):
    """Routes that are promised the same. NAME is `slo_class` of their budget. Without `objective` they are
    promised nothing, as a health check is that answers 503 on purpose.

    ```toml
    [slo.class.slow]
    routes = ["/api/v1/reports/*"]
    objective = 0.99
    fast_within = 5

    [slo.class.health]
    routes = ["/health"]
    ```
    """

    routes: Several[Template] = Field(min_length=1)
    """Paths as the application declares them, `/items/{id}`; `*` stands for any text. No route may be in
    two classes."""
    objective: Share | None = None
    """Share of requests that may not end in a 5xx, over 30 days: with 0.999 one of a thousand may."""
    fast_within: Bound | None = None
    """Seconds within which 99 of 100 good answers come; without it there is no objective for latency."""
    page: bool = True
    """Whether a budget that burns fast pages; if not, it makes tickets only."""


class Slo(Section):
    """What is promised for every route that no class claims. Without `objective`: nothing.

    ```toml
    [slo]
    objective = 0.999
    fast_within = 0.25
    ```
    """

    objective: Share | None = None
    """As of a class, for all other routes."""
    fast_within: Bound | None = None
    """As of a class."""
    page: bool = True
    """As of a class."""
    classes: Mapping[Name, Class] = Field(default_factory=dict, alias="class")
    """Routes that are promised something else."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SloClass:
    """One class, that of all other routes included.

    routes: None: every route that no other class claims. objective: 0-1; None: nothing is promised.
    fast_within_seconds: a bound of the histogram; None: no objective for latency. pages: whether a budget
    that burns pages.
    """

    name: str
    routes: tuple[str, ...] | None
    objective: float | None
    fast_within_seconds: float | None = None
    pages: bool = True


def slo_classes(slo: Slo) -> tuple[SloClass, ...]:
    """Return the classes in the order of the file, last that of all other routes when there is one."""
    classes: dict[str, Class | Slo] = dict(slo.classes)
    if slo.objective is not None:
        classes[DEFAULT] = slo
    return tuple(
        SloClass(
            name=name,
            routes=one.routes if isinstance(one, Class) else None,
            objective=one.objective,
            fast_within_seconds=one.fast_within,
            pages=one.page,
        )
        for name, one in classes.items()
    )


def overlap(one: str, other: str) -> bool:
    """Whether one of two templates, read as a path, is matched by the other."""
    return _matches(one, other) or _matches(other, one)


def _matches(path: str, template: str) -> bool:
    return fnmatch.fnmatchcase(path, re.sub(r"[\[?]", r"[\g<0>]", template))
