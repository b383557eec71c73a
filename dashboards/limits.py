"""Threshold lines of panels, read from the rules: a line on a panel is where an alert fires.

A number that is typed into a panel drifts from the rule within a year; here a rule without the comparison
that a panel asks for stops the build.
"""

import functools

import promql_parser as promql

from alerting.catalogue import Alert, AlertSourceError, load_alerts
from alerting.service import DEMO, Service
from alerting.slo import ERROR_TIERS
from service.config import Config


@functools.cache
def _alerts() -> dict[str, Alert]:
    return {alert.name: alert for alert in load_alerts()}


def limit(alert: str, part: str, *, operator: str = ">") -> float:
    """Return the number that `part`, a piece of the left side, is compared with in the alert's rules.

    Spaces do not matter.
    Raises AlertSourceError when no comparison has that piece, or several have it with other numbers.
    """
    found: set[float] = set()
    for rule in _alerts()[alert].rules:
        nodes: list[promql.Expr] = []
        promql.walk(promql.parse(rule["expr"]), nodes.append)
        found |= {
            float(node.rhs.val)
            for node in nodes
            if isinstance(node, promql.BinaryExpr)
            and str(node.op) == operator
            and isinstance(node.rhs, promql.NumberLiteral)
            and _squeezed(part) in _squeezed(node.lhs.prettify())
        }
    if len(found) != 1:
        message = f"{alert}: {part} {operator} a number: found {sorted(found)}, expected one"
        raise AlertSourceError(message)
    return found.pop()


def _squeezed(expression: str) -> str:
    return "".join(expression.split())


def burn_ratio(service: Service, tier: str) -> float | None:
    """Return the share of failed requests, 0-1, above which a tier of the error budget fires for the
    routes that are promised most; None when none is promised anything.
    """
    (factor,) = (float(item.factor) for item in ERROR_TIERS if item.name == tier)
    promised = max((item.objective for item in service.classes if item.objective), default=None)
    return None if promised is None else round(factor * (1 - promised), 6)


def fast_within_seconds(service: Service) -> float | None:
    """Return the shortest latency that any route is promised; None when none is."""
    promised = (item.fast_within_seconds for item in service.classes)
    return min((seconds for seconds in promised if seconds is not None), default=None)


def setting(service: Service, name: str) -> float | None:
    """Return the default of a setting of the demo, in the unit that its name says.

    None for any other service: its timeouts are known to nobody here.
    """
    return float(Config.model_fields[name].default) if service == DEMO else None
