"""Makes mutants of rules: one small fault in each, which the rule's tests must notice.

Expressions are changed in their syntax tree, so every mutant still parses. What is mutated: thresholds
and factors (half, double), comparisons (reversed; `>=` to `>`), windows (half, double), matcher values
(another value, each alternative of a regular expression left out), a dropped side of `and`, `unless` and
`or`, `for` (removed, ten times), the severity, and each label dropped.
"""

import copy
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import promql_parser as promql

Rule = dict[str, Any]

_REVERSED = {">": "<", "<": ">", ">=": "<", "<=": ">", "==": "!=", "!=": "=="}
_RANGE = re.compile(r"\[(\w+)\]")
_DURATION = re.compile(r"(\d+)(ms|s|m|h|d)")
_UNIT_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_OTHER_SEVERITY = {"page": "ticket", "ticket": "page", "none": "page"}


@dataclass(frozen=True, slots=True)
class Mutant:
    """One changed rule. `title` names it for a person and for the list of excused survivors."""

    title: str
    rule: Rule


@dataclass(frozen=True, slots=True)
class _Change:
    title: str
    replacement: str


def mutants_of(rule: Rule) -> Iterator[Mutant]:
    """Yield every mutant of an alerting or recording rule, the same ones in the same order each time."""
    yield from _expression_mutants(rule)
    if "for" in rule:
        yield _changed(rule, "for removed", lambda item: item.pop("for"))
        longer = f"{_seconds(rule['for']) * 10}s"
        yield _changed(rule, "for ten times longer", lambda item: item.update({"for": longer}))
    labels: dict[str, str] = rule.get("labels", {})
    if "severity" in labels:
        other = _OTHER_SEVERITY[labels["severity"]]
        yield _changed(
            rule, f"severity {other}", lambda item: item["labels"].update(severity=other)
        )
    for label in labels:
        yield _changed(rule, f"label {label} dropped", _without(label))


def _without(label: str) -> Callable[[Rule], object]:
    return lambda rule: rule["labels"].pop(label)


def _changed(rule: Rule, title: str, change: Callable[[Rule], object]) -> Mutant:
    mutated = copy.deepcopy(rule)
    change(mutated)
    return Mutant(title, mutated)


def _expression_mutants(rule: Rule) -> Iterator[Mutant]:
    tree = promql.parse(rule["expr"])
    nodes: list[promql.Expr] = []
    promql.walk(tree, nodes.append)
    for position, node in enumerate(nodes):
        for change in _changes(node):
            expression = _replaced(tree, position, change.replacement)
            yield Mutant(f"{position}: {change.title}", {**rule, "expr": expression})


def _replaced(tree: promql.Expr, position: int, replacement: str) -> str:
    """Return the expression with the node at this position, counted from the root, replaced."""
    seen = -1

    def visit(_: promql.Expr) -> promql.Expr | None:
        nonlocal seen
        seen += 1
        return promql.parse(replacement) if seen == position else None

    return promql.transform(tree, visit).prettify()


def _changes(node: promql.Expr) -> Iterator[_Change]:
    if isinstance(node, promql.NumberLiteral):
        yield from _number_changes(node.val)
    elif isinstance(node, promql.BinaryExpr):
        yield from _operator_changes(node)
    elif isinstance(node, promql.MatrixSelector):
        yield from _window_changes(node)
    elif isinstance(node, promql.VectorSelector):
        yield from _matcher_changes(node.prettify(), node)


def _number_changes(value: float) -> Iterator[_Change]:
    for other in (value / 2, value * 2) if value else (1.0,):
        yield _Change(f"{value:g} becomes {other:g}", f"{other!r}")


def _operator_changes(node: promql.BinaryExpr) -> Iterator[_Change]:
    operator = str(node.op)
    left, right = node.lhs.prettify(), node.rhs.prettify()
    if operator in _REVERSED:
        # An increase is extrapolated to the end of its window: it is never exactly a whole number.
        has_boundary = operator == ">=" and "increase" not in left
        others = [_REVERSED[operator], *([">"] if has_boundary else [])]
        for other in others:
            text = f"(({left}) {other} {_modifier(node)} ({right}))"
            yield _Change(f"{operator} becomes {other} before {_short(right)}", text)
    elif operator in {"and", "unless", "or"}:
        yield _Change(f"{operator} {_short(right)} dropped", f"({left})")
        if operator == "or":
            yield _Change(f"{_short(left)} or dropped", f"({right})")


def _modifier(node: promql.BinaryExpr) -> str:
    modifier = node.modifier
    if modifier is None or modifier.matching is None:
        return ""
    is_on = modifier.matching.type == promql.LabelModifierType.Include
    text = f"{'on' if is_on else 'ignoring'} ({', '.join(modifier.matching.labels)})"
    if modifier.card == promql.VectorMatchCardinality.ManyToOne:
        text += f" group_left ({', '.join(modifier.group_labels or [])})"
    return text


def _window_changes(node: promql.MatrixSelector) -> Iterator[_Change]:
    text = node.prettify()
    match = _RANGE.search(text)
    if match is None:
        return
    seconds = _seconds(match[1])
    for other in (seconds // 2, seconds * 2):
        changed = f"{text[: match.start()]}[{other}s]{text[match.end() :]}"
        yield _Change(f"[{match[1]}] of {_name(text)} becomes [{other}s]", changed)


def _matcher_changes(text: str, selector: promql.VectorSelector) -> Iterator[_Change]:
    for matcher in selector.matchers.matchers:
        pattern = re.compile(
            rf'(\b{matcher.name}(?:=~|!~|!=|=)"){re.escape(_quoted(matcher.value))}(")'
        )
        others = {"mutant": f"{matcher.name} of {_name(text)} becomes another value"}
        alternatives = matcher.value.split("|")
        if len(alternatives) > 1:
            for alternative in alternatives:
                rest = "|".join(item for item in alternatives if item != alternative)
                others[rest] = f"{matcher.name} of {_name(text)} without {alternative}"
        for other, title in others.items():
            changed, count = pattern.subn(rf"\g<1>{other}\g<2>", text)
            if count:
                yield _Change(title, changed)


def _quoted(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"')


def _name(text: str) -> str:
    return text.split("{", 1)[0].split("[", 1)[0]


def _short(text: str) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= 60 else f"{flat[:57]}..."


def _seconds(duration: str) -> int:
    parts = _DURATION.findall(duration)
    return sum(int(number) * _UNIT_SECONDS[unit] for number, unit in parts)
