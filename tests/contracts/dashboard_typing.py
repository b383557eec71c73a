"""What a query of a panel returns, and whether what it names exists: on top of what rules are read with."""

import functools

import promql_parser as promql

from alerting.needs import records
from tests.contracts.metric_catalogue import all_metrics, closed_values
from tests.contracts.promql import TARGET_LABELS, Labels, Typing, calls, nodes, selectors

SAME_LABELS = frozenset({"sort", "sort_desc", "clamp_max"})
COUNTER_READERS = frozenset({"rate", "increase"})


class PanelTyping(Typing):
    """Panels also sort, take quantiles, and sum everything into one line; rules do not."""

    def _call_labels(self, node: promql.Call) -> Labels:
        if node.func.name in SAME_LABELS:
            return self.labels(node.args[0])
        if node.func.name == "histogram_quantile":
            buckets = self.labels(node.args[1])
            if "le" not in buckets:
                message = f"without le there are no buckets: {node.prettify()}"
                raise TypeError(message)
            return buckets - {"le"}
        return super()._call_labels(node)

    def _aggregate_labels(self, node: promql.AggregateExpr) -> Labels:
        if node.modifier is None:
            return frozenset()
        return super()._aggregate_labels(node)


@functools.cache
def typing() -> PanelTyping:
    return PanelTyping({name: metric.labels for name, metric in metrics().items()}, records())


metrics = functools.cache(all_metrics)
closed_sets = functools.cache(closed_values)


def problems(expr: str, *, is_read: bool = True) -> list[str]:
    """Say what is wrong with an expression whose variables are put in; nothing: it can return data.

    Asked: does it parse, does every metric, label and closed value exist, is each selected by the job that
    exports it, is every counter read by rate or increase, can both sides of each operation match.
    is_read: False for a selector that only looks series up, as variables do.
    """
    try:
        tree = promql.parse(expr)
    except ValueError as error:
        return [f"does not parse: {error}"]
    found = [problem for selector in selectors(tree) for problem in _selector_problems(selector)]
    if found:
        return found
    try:
        found += typing().mismatches(tree)
        typing().labels(tree)
    except TypeError as error:
        return [*found, str(error)]
    return [*found, *(_counter_problems(tree) if is_read else ())]


def _selector_problems(selector: promql.VectorSelector) -> list[str]:
    name = str(selector.name)
    closed = closed_sets()
    if name not in metrics() and name not in records():
        return [f"no metric is called {name}"]
    known = (
        typing().labels(selector) if name in records() else metrics()[name].labels | TARGET_LABELS
    )
    found = []
    jobs = []
    for matcher in selector.matchers.matchers:
        if matcher.name not in known:
            found.append(f"{name} has no label {matcher.name}")
        if matcher.name == "job":
            jobs.append(matcher.value)
        values = closed.get((name, matcher.name), frozenset())
        wanted = set(matcher.value.split("|")) - {"..*", ""}
        if values and wanted - values:
            found.append(f"{name} never has {matcher.name}={sorted(wanted - values)}")
    job = metrics()[name].job if name in metrics() else "any"
    if job not in {"any", "none"} and jobs != [job]:
        selected = " and ".join(f'job="{one}"' for one in jobs) or "no job"
        found.append(f'{name} is exported by job="{job}", and selected by {selected}')
    return found


def _counter_problems(tree: promql.Expr) -> list[str]:
    read = set()
    found = []
    for call in calls(tree):
        for item in call.args:
            if not isinstance(item, promql.MatrixSelector):
                continue
            read.add(item.vector_selector.prettify())
            if _is_counter(item.vector_selector) != (call.func.name in COUNTER_READERS):
                found.append(f"{call.func.name}() of {item.vector_selector.name}")
    found += [
        f"{node.name} is a counter, read without rate"
        for node in nodes(tree)
        if isinstance(node, promql.VectorSelector)
        and _is_counter(node)
        and node.prettify() not in read
    ]
    return found


def _is_counter(selector: promql.VectorSelector) -> bool:
    metric = metrics().get(str(selector.name))
    return metric is not None and metric.kind == "counter"
