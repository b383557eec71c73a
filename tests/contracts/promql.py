"""What a PromQL expression says about its result, read from its syntax tree.

Only what the rules here use is understood; anything else raises, so that a new construct is looked at
before it is trusted.
"""

from collections.abc import Iterator
from typing import Any, TypeGuard

import promql_parser as promql

TARGET_LABELS = frozenset({"job", "service", "env", "instance"})
SET_OPERATORS = frozenset({"and", "or", "unless"})
COMPARISONS = frozenset({">", "<", ">=", "<=", "==", "!="})
COUNTER_FUNCTIONS = frozenset({"rate", "increase"})
_SAME_LABELS = COUNTER_FUNCTIONS | {
    "avg_over_time",
    "max_over_time",
    "min_over_time",
    "last_over_time",
    "count_over_time",
    "changes",
    "clamp_max",
    "clamp_min",
    "sqrt",
}

Labels = frozenset[str]


def nodes(expression: promql.Expr) -> list[promql.Expr]:
    """Return every node of the tree, parents before children."""
    found: list[promql.Expr] = []
    promql.walk(expression, found.append)
    return found


def selectors(expression: promql.Expr) -> Iterator[promql.VectorSelector]:
    """Yield every selector, those inside ranges included."""
    return (node for node in nodes(expression) if isinstance(node, promql.VectorSelector))


def calls(expression: promql.Expr) -> Iterator[promql.Call]:
    return (node for node in nodes(expression) if isinstance(node, promql.Call))


def is_comparison(node: promql.Expr) -> TypeGuard[promql.BinaryExpr]:
    return isinstance(node, promql.BinaryExpr) and str(node.op) in COMPARISONS


class Typing:
    """Works out the labels of a result from those of the metrics and of the recording rules."""

    def __init__(
        self, metrics: dict[str, Labels], records: dict[str, list[dict[str, Any]]]
    ) -> None:
        self._metrics = metrics
        self._records = records
        self._record_labels: dict[str, Labels] = {}

    def labels(self, node: promql.Expr) -> Labels:
        """Return the label names that the result can have; scalars have none."""
        match node:
            case promql.VectorSelector():
                labels = self._selector_labels(node)
            case promql.MatrixSelector():
                labels = self._selector_labels(node.vector_selector)
            case promql.ParenExpr():
                labels = self.labels(node.expr)
            case promql.NumberLiteral() | promql.StringLiteral():
                labels = frozenset()
            case promql.AggregateExpr():
                labels = self._aggregate_labels(node)
            case promql.Call():
                labels = self._call_labels(node)
            case promql.BinaryExpr():
                labels = self._binary_labels(node)
            case _:
                message = f"{type(node).__name__} is not understood here: {node.prettify()}"
                raise TypeError(message)
        return labels

    def _selector_labels(self, node: promql.VectorSelector) -> Labels:
        name = str(node.name)
        if name not in self._records:
            return self._metrics[name] | TARGET_LABELS
        if name not in self._record_labels:
            self._record_labels[name] = frozenset().union(
                *(
                    self.labels(promql.parse(rule["expr"])) | frozenset(rule.get("labels", {}))
                    for rule in self._records[name]
                )
            )
        return self._record_labels[name]

    def _aggregate_labels(self, node: promql.AggregateExpr) -> Labels:
        if node.modifier is None or node.modifier.type != promql.AggModifierType.By:
            message = f"aggregate by the labels to keep: {node.prettify()}"
            raise TypeError(message)
        missing = frozenset(node.modifier.labels) - self.labels(node.expr)
        if missing:
            message = f"{sorted(missing)} is no label of what is aggregated: {node.prettify()}"
            raise TypeError(message)
        return frozenset(node.modifier.labels)

    def _call_labels(self, node: promql.Call) -> Labels:
        name = node.func.name
        if name in _SAME_LABELS:
            return self.labels(node.args[0])
        if name == "label_replace":
            return self.labels(node.args[0]) | {node.args[1].val}
        if name in {"time", "vector"}:
            return frozenset()
        if name == "absent":
            matchers = node.args[0].matchers.matchers
            return frozenset(item.name for item in matchers if item.op == promql.MatchOp.Equal)
        message = f"{name}() is not understood here"
        raise TypeError(message)

    def _binary_labels(self, node: promql.BinaryExpr) -> Labels:
        left, right = self.labels(node.lhs), self.labels(node.rhs)
        operator = str(node.op)
        if operator in SET_OPERATORS:
            return left
        if not left or not right:
            return left or right
        if node.modifier is None or node.modifier.matching is None:
            return left
        matching = frozenset(node.modifier.matching.labels)
        if node.modifier.card == promql.VectorMatchCardinality.ManyToOne:
            return left | frozenset(node.modifier.group_labels or ())
        if node.modifier.matching.type == promql.LabelModifierType.Include:
            return matching
        return left - matching

    def mismatches(self, expression: promql.Expr) -> Iterator[str]:
        """Yield the operations whose sides can never match, because their labels differ."""
        for node in nodes(expression):
            if not isinstance(node, promql.BinaryExpr):
                continue
            left, right = self.labels(node.lhs), self.labels(node.rhs)
            if not right and str(node.op) not in SET_OPERATORS:
                continue
            if not left and str(node.op) not in SET_OPERATORS:
                continue
            matching = node.modifier.matching if node.modifier else None
            if matching is None:
                if left != right and str(node.op) != "or":
                    yield f"{sorted(left)} against {sorted(right)} in {node.prettify()}"
            elif matching.type == promql.LabelModifierType.Include:
                if not frozenset(matching.labels) <= left & right:
                    yield f"on {matching.labels}: not on both sides of {node.prettify()}"
            elif left - set(matching.labels) != right - set(matching.labels):
                yield f"ignoring {matching.labels}: sides differ in {node.prettify()}"
