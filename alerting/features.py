"""The features that a service can have, and which alerts can fire with them; the table is features.yaml.

An alert's `needs` are a list: all of it must be there. An item `oauth or breaker` is there with either.
The usual mistake is to list a metric that the alert only looks at to stay silent: what stands behind
`unless` is not needed.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

from alerting.catalogue import FOLDER, Alert, AlertSourceError
from alerting.document import read_yaml

TABLE = FOLDER / "features.yaml"

Needs = tuple[frozenset[str], ...]
"""All of them must be met; each by any one of its features."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Feature:
    """One family of metrics, or a part of what runs around the service.

    has: always, core (any service that the kit instruments) or extra. how: to get it, one phrase.
    codes: failure codes that only a service with this feature counts.
    """

    name: str
    has: str
    how: str
    metrics: frozenset[str]
    codes: frozenset[str]


@cache
def all_features() -> dict[str, Feature]:
    """Return the table in its order, by name."""
    return {
        name: Feature(
            name=name,
            has=about["has"],
            how=about["how"],
            metrics=frozenset(about["metrics"]),
            codes=frozenset(about.get("codes", ())),
        )
        for name, about in read_yaml(TABLE).items()
    }


def every_feature() -> frozenset[str]:
    """Return the names of all: what the demo has."""
    return frozenset(all_features())


def core_features() -> frozenset[str]:
    """Return what any instrumented service has, and what the stack around it always brings."""
    return frozenset(item.name for item in all_features().values() if item.has != "extra")


def chosen(names: Iterable[str]) -> frozenset[str]:
    """Return these and what the stack always brings; raises AlertSourceError for an unknown name."""
    asked = frozenset(names)
    unknown = asked - every_feature()
    if unknown:
        message = (
            f"no feature is called {', '.join(sorted(unknown))}; "
            f"there are {', '.join(all_features())}"
        )
        raise AlertSourceError(message)
    always = {item.name for item in all_features().values() if item.has == "always"}
    return asked | always


def needs_of(alert: Alert) -> Needs:
    """Return what the alert's runbook declares; raises AlertSourceError naming the runbook."""
    declared = alert.front_matter.get("needs")
    where = alert.folder / "runbook.md"
    if not isinstance(declared, list) or not all(isinstance(item, str) for item in declared):
        message = f"{where}: `needs` must be a list of features, [] for none"
        raise AlertSourceError(message)
    needs = tuple(frozenset(item.split(" or ")) for item in declared)
    unknown = frozenset[str]().union(*needs) - every_feature()
    if unknown:
        message = (
            f"{where}: `needs` {', '.join(sorted(unknown))}, which {TABLE.name} does not have"
        )
        raise AlertSourceError(message)
    return needs


def missing(alert: Alert, features: frozenset[str]) -> Needs:
    """Return the needs that none of the features meets; empty: the alert can fire."""
    return tuple(need for need in needs_of(alert) if not need & features)


def can_fire(alert: Alert, features: frozenset[str]) -> bool:
    return not missing(alert, features)
