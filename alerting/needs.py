"""Which features an expression cannot have a result without, read from its syntax tree.

The answer is a set of sets: with all features of any one inner set there can be a result. `NOTHING` needs
no feature, `NEVER` has no result with all of them. Panels are left out by it, and a test holds what the
alerts declare to it.
"""

import re
from functools import cache
from itertools import product
from typing import Any

import promql_parser as promql

from alerting.catalogue import FOLDER, RECORDING_FILES
from alerting.document import read_yaml
from alerting.features import TABLE, Needs, all_features

Ways = frozenset[frozenset[str]]
Codes = tuple[promql.Matcher, ...]

NOTHING: Ways = frozenset({frozenset()})
NEVER: Ways = frozenset()


def smallest(ways: Ways) -> Ways:
    """Leave out what asks for more than another does."""
    return frozenset(way for way in ways if not any(other < way for other in ways))


def either(*alternatives: Ways) -> Ways:
    return smallest(frozenset().union(*alternatives))


def both(*parts: Ways) -> Ways:
    return smallest(frozenset(frozenset().union(*chosen) for chosen in product(*parts)))


def declared(needs: Needs) -> Ways:
    """Return the ways to meet what a runbook declares."""
    return both(*(frozenset(frozenset({name}) for name in need) for need in needs))


@cache
def records() -> dict[str, list[dict[str, Any]]]:
    """Return the recording rules by the name of what they record."""
    found: dict[str, list[dict[str, Any]]] = {}
    for file in RECORDING_FILES:
        for group in read_yaml(FOLDER / file)["groups"]:
            for rule in group["rules"]:
                found.setdefault(rule["record"], []).append(rule)
    return found


@cache
def has_result(expression: str, features: frozenset[str]) -> bool:
    """Whether a service with these features can have a result of the expression."""
    ways = Reader(records()).ways(promql.parse(expression))
    return any(way <= features for way in ways)


def feature_of(metric: str) -> str:
    """Return the feature that the series belongs to; raises ValueError for none or several."""
    plain = re.sub(r"_(bucket|count|sum)$", "", metric)
    for name in (metric, plain):
        owners = [item.name for item in all_features().values() if name in item.metrics]
        if owners:
            (owner,) = owners
            return owner
    message = (
        f"{TABLE}: no feature has {metric}; add it to one, or a feature of its own, which also goes"
        " into `features` of firedrill.toml"
    )
    raise ValueError(message)


def _one(feature: str) -> Ways:
    return frozenset({frozenset({feature})})


class Reader:
    """Reads expressions that may use recording rules: name → its rules."""

    def __init__(self, records: dict[str, list[dict[str, Any]]]) -> None:
        self._records = records

    def ways(self, node: promql.Expr, codes: Codes = ()) -> Ways:
        """codes: what the record that is read here is asked for, beside what its selectors ask."""
        match node:
            case promql.VectorSelector():
                found = self._selector(node, codes)
            case promql.MatrixSelector():
                found = self._selector(node.vector_selector, codes)
            case promql.ParenExpr() | promql.AggregateExpr() | promql.UnaryExpr():
                found = self.ways(node.expr, codes)
            case promql.NumberLiteral() | promql.StringLiteral():
                found = NOTHING
            case promql.Call():
                found = self._call(node, codes)
            case promql.BinaryExpr():
                found = self._binary(node, codes)
            case _:
                message = f"{type(node).__name__} is not understood here: {node.prettify()}"
                raise TypeError(message)
        return found

    def _call(self, node: promql.Call, codes: Codes) -> Ways:
        if node.func.name == "absent":
            return NOTHING
        if node.func.name == "label_replace" and node.args[1].val == "code":
            codes = ()  # the code asked for is made here, of another label
        return both(NOTHING, *(self.ways(item, codes) for item in node.args))

    def _binary(self, node: promql.BinaryExpr, codes: Codes) -> Ways:
        left = self.ways(node.lhs, codes)
        if str(node.op) == "unless":
            return left
        right = self.ways(node.rhs, codes)
        return either(left, right) if str(node.op) == "or" else both(left, right)

    def _selector(self, node: promql.VectorSelector, codes: Codes) -> Ways:
        name = str(node.name)
        codes = (*codes, *(item for item in node.matchers.matchers if item.name == "code"))
        if name in self._records:
            found = either(
                *(self.ways(promql.parse(rule["expr"]), codes) for rule in self._records[name])
            )
            asked_for = any(name in item.metrics for item in all_features().values())
            return both(_one(feature_of(name)), found) if asked_for else found
        needed = _one(feature_of(name))
        return both(needed, _with_codes(codes)) if name == "app_failures_total" else needed


def _with_codes(matchers: Codes) -> Ways:
    """One way for each owner of a code that all matchers let pass; other codes have no owner."""
    owner = {code: item.name for item in all_features().values() for code in item.codes}
    asked = {code for item in matchers for code in re.findall(r"\w+", item.value)}
    passing = [code for code in {*owner, *asked, "internal_error"} if _passes(code, matchers)]
    return smallest(
        frozenset(frozenset({owner[code]} if code in owner else ()) for code in passing)
    )


def _passes(code: str, matchers: Codes) -> bool:
    return all(
        (re.fullmatch(item.value, code) is not None)
        == (item.op in (promql.MatchOp.Equal, promql.MatchOp.Re))
        for item in matchers
    )
