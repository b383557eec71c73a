"""Classes of routes in PromQL: what selects them, and what they are promised; `slo.py` makes the rules.

Which classes there are stands in [slo] of firedrill.toml. The usual mistake is a route in no class: it has
no budget, and no page.
"""

import re

from firedrill_kit.config import SloClass

Classes = tuple[SloClass, ...]


def with_objective(given: Classes) -> Classes:
    return tuple(item for item in given if item.objective is not None)


def budget(objective: float) -> str:
    """Return the share of requests that may fail, 0-1, without the noise of binary fractions."""
    return f"{1 - objective:.6g}"


def bucket(within_seconds: float) -> str:
    """Return the `le` of the bucket as a regular expression of PromQL: Prometheus 2 keeps `5` as a client
    wrote it, and 3 rewrites it to `5.0`.
    """
    is_whole = within_seconds == int(within_seconds)
    return f"{within_seconds:g}(\\\\.0)?" if is_whole else f"{within_seconds:g}"


def matcher(item: SloClass, given: Classes) -> str:
    """Return what selects the routes of a class in PromQL, with a comma before it; all of them: empty."""
    if item.routes is not None:
        return f',http_route=~"{pattern_of(item.routes)}"'
    claimed = tuple(route for other in given for route in other.routes or ())
    return f',http_route!~"{pattern_of(claimed)}"' if claimed else ""


def pattern_of(routes: tuple[str, ...]) -> str:
    """Return a regular expression of the routes; `*` is any text. It needs no backslash, so no quoting."""
    return "|".join(re.sub(r"[^\w/*-]", r"[\g<0>]", route).replace("*", ".*") for route in routes)
