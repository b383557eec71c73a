"""What routes are promised: classes of routes with an objective each, as data; `slo.py` makes the rules.

`classes()` is the one place that says which classes there are. The usual mistake is a route in no class:
it has no budget, and no page. One class may have no routes of its own, and is then that of all others.
"""

import re
from collections import Counter
from dataclasses import dataclass

from alerting.catalogue import AlertSourceError

LATENCY_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)
"""Bounds of http_server_request_duration_seconds, in seconds: only there is it known who was in time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SloClass:
    """What a class of routes is promised.

    routes: templates as FastAPI has them, `*` for any text; None: every route that no other class claims.
    objective: the share of requests that may not end in a 5xx, 0-1, over 30 days; None: nothing is promised,
        as for a health check that answers 503 on purpose.
    fast_within_seconds: the latency threshold, a bucket of the histogram; None: no latency objective.
    pages: False: a class whose budget makes tickets alone.
    """

    name: str
    routes: tuple[str, ...] | None
    objective: float | None
    fast_within_seconds: float | None = None
    pages: bool = True

    @property
    def budget(self) -> str:
        """The share of requests that may fail, 0-1, without the noise of binary fractions."""
        if self.objective is None:
            message = f"{self.name} is promised nothing"
            raise AlertSourceError(message)
        return f"{1 - self.objective:.6g}"

    @property
    def fast_within(self) -> str:
        """The `le` of the bucket as a regular expression of PromQL: Prometheus 2 keeps `5` as a client wrote
        it, and 3 rewrites it to `5.0`.
        """
        within = self.fast_within_seconds
        if within is None:
            message = f"{self.name} has no latency objective"
            raise AlertSourceError(message)
        return f"{within:g}(\\\\.0)?" if within == int(within) else f"{within:g}"


DEMO = (
    SloClass(
        name="critical",
        routes=("/api/v1/auth/token", "/api/v1/auth/logout", "/api/v1/auth/csrf"),
        objective=0.999,
        # A password hash costs 0.2 s of CPU on purpose: a latency objective would measure argon2.
    ),
    SloClass(
        name="high",
        routes=("/api/v1/profile", "/api/v1/settings", "/api/v1/calendar/events"),
        objective=0.999,
        fast_within_seconds=0.25,
    ),
    SloClass(
        name="slow",
        # Both wait for the calendar provider.
        routes=("/api/v1/calendar/sync/auto", "/api/v1/calendar/connection"),
        objective=0.99,
        fast_within_seconds=5,
    ),
)


def classes() -> tuple[SloClass, ...]:
    """Return the classes of the service that this repository describes."""
    return DEMO


def with_objective(given: tuple[SloClass, ...]) -> tuple[SloClass, ...]:
    return tuple(item for item in given if item.objective is not None)


def matcher(item: SloClass, given: tuple[SloClass, ...]) -> str:
    """Return what selects the routes of a class in PromQL, with a comma before it; all of them: empty."""
    if item.routes is not None:
        return f',http_route=~"{pattern_of(item.routes)}"'
    claimed = [route for other in given for route in other.routes or ()]
    return f',http_route!~"{pattern_of(claimed)}"' if claimed else ""


def pattern_of(routes: list[str] | tuple[str, ...]) -> str:
    """Return a regular expression of the routes; `*` is any text. It needs no backslash, so no quoting."""
    return "|".join(re.sub(r"[^\w/*-]", r"[\g<0>]", route).replace("*", ".*") for route in routes)


def checked(given: tuple[SloClass, ...]) -> tuple[SloClass, ...]:
    """Return the classes as given; raises AlertSourceError that names class and remedy."""
    for message in _faults(given):
        raise AlertSourceError(message)
    return given


def _faults(given: tuple[SloClass, ...]) -> list[str]:
    buckets = ", ".join(f"{bound:g}" for bound in LATENCY_BUCKETS)
    claims = Counter(route for item in given for route in item.routes or ())
    names = Counter(item.name for item in given)
    faults = [f"there are two classes {name}: rename one" for name in names if names[name] > 1]
    faults += [
        f"{route} is in two classes: leave it in one" for route in claims if claims[route] > 1
    ]
    if sum(item.routes is None for item in given) > 1:
        faults.append("two classes have no routes: only one can be that of all others")
    for item in given:
        if item.routes is not None and not item.routes:
            faults.append(f"class {item.name}: routes is empty, name one")
        if item.objective is not None and not 0 < item.objective < 1:
            faults.append(
                f"class {item.name}: objective is {item.objective:g}, must be between 0 and 1"
            )
        within = item.fast_within_seconds
        if within is not None and within not in LATENCY_BUCKETS:
            faults.append(
                f"class {item.name}: fast_within is {within:g}, "
                f"must be a bucket of http_server_request_duration_seconds: {buckets}"
            )
        for route in item.routes or ():
            if re.search(r'[\s"\\\]\[^]', route):
                faults.append(
                    f"class {item.name}: {route} is no route: no spaces, quotes or brackets"
                )
    return faults
