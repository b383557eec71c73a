"""The 17 rules of grafana/dashboard-linter, on the classic JSON of a dashboard.

A rule takes a dashboard and yields what breaks it as (panel, message); the panel is empty when the dashboard
as a whole does. What dashboards/.lint excludes, with a reason, is taken out by `findings`.
"""

import re
from collections.abc import Callable, Iterator
from typing import Any

import promql_parser as promql

from alerting.document import read_yaml
from dashboards.queries import FOLDER, UnknownVariable, panels, substituted
from tests.contracts.promql import calls, nodes, selectors

Dashboard = dict[str, Any]
Finding = tuple[str, str]
Rule = Callable[[Dashboard], Iterator[Finding]]

# The part of Grafana's units that dashboards here have a use for.
# fmt: off
UNITS = frozenset({
    "none", "short", "percent", "percentunit", "bool", "bool_yes_no", "bytes", "decbytes", "bits", "Bps",
    "s", "ms", "µs", "ns", "m", "h", "d", "dtdurations", "dateTimeAsIso", "dateTimeFromNow",
    "ops", "reqps", "rps", "cps",
})
# fmt: on
WITH_UNITS = frozenset({"stat", "table", "timeseries", "gauge", "heatmap"})
WITHOUT_TARGETS = frozenset({"row", "text"})
COUNTER_READERS = frozenset({"rate", "irate", "increase"})


def targets(dashboard: Dashboard, language: str = "prometheus") -> Iterator[tuple[str, str]]:
    """Yield (panel, expression) of the queries in a language."""
    for panel in panels(dashboard):
        for target in panel.get("targets", []):
            if target["datasource"]["type"] == language:
                yield panel["title"], target["expr"]


def parsed(dashboard: Dashboard) -> Iterator[tuple[str, str, promql.Expr]]:
    """Yield (panel, expression, tree) of the PromQL that can be read; another rule reports the rest."""
    for panel, expr in targets(dashboard):
        try:
            yield panel, expr, promql.parse(substituted(expr))
        except (ValueError, UnknownVariable):
            continue


def variable(dashboard: Dashboard, name: str) -> dict[str, Any] | None:
    return next((item for item in dashboard["templating"]["list"] if item["name"] == name), None)


def template_datasource(dashboard: Dashboard) -> Iterator[Finding]:
    found = variable(dashboard, "datasource")
    if found is None or found["type"] != "datasource" or found["query"] != "prometheus":
        yield "", "has no data source variable of type prometheus"
    elif found["label"] != "Data source":
        yield "", "the data source variable should be labelled 'Data source'"


def _template(dashboard: Dashboard, name: str) -> Iterator[Finding]:
    found = variable(dashboard, name)
    if found is None:
        yield "", f"is missing the {name} variable"
        return
    if found["type"] != "query":
        yield "", f"the {name} variable should be a query"
    if found["datasource"]["uid"] not in {"$datasource", "${datasource}"}:
        yield "", f"the {name} variable should use the data source variable"
    if found["label"] != name.title():
        yield "", f"the {name} variable should be labelled {name.title()}"
    if not found["multi"]:
        yield "", f"the {name} variable should be a multi select"
    if found["allValue"] != "..*":
        yield "", f"the {name} variable should have ..* for All"


def template_job(dashboard: Dashboard) -> Iterator[Finding]:
    yield from _template(dashboard, "job")


def template_instance(dashboard: Dashboard) -> Iterator[Finding]:
    yield from _template(dashboard, "instance")


def template_label_promql(dashboard: Dashboard) -> Iterator[Finding]:
    for item in dashboard["templating"]["list"]:
        if item["type"] != "query":
            continue
        found = re.fullmatch(r"label_values\((.*), *\w+\)", str(item["query"]))
        if found is None:
            yield (
                "",
                f"variable {item['name']} asks for something else than label_values(selector, label)",
            )
            continue
        try:
            promql.parse(substituted(found[1]))
        except ValueError as error:
            yield "", f"variable {item['name']}: {error}"


def template_on_time_change_reload(dashboard: Dashboard) -> Iterator[Finding]:
    for item in dashboard["templating"]["list"]:
        if item["type"] == "query" and item["refresh"] != 2:
            yield "", f"variable {item['name']} should be asked again when the range changes"


def panel_datasource(dashboard: Dashboard) -> Iterator[Finding]:
    for panel in panels(dashboard):
        uids = [panel.get("datasource", {}).get("uid")] if panel["type"] != "text" else []
        uids += [target["datasource"]["uid"] for target in panel.get("targets", [])]
        if set(uids) - {"$datasource", "${datasource}"}:
            yield panel["title"], f"uses {uids}, not the data source variable"


def panel_title_description(dashboard: Dashboard) -> Iterator[Finding]:
    for panel in panels(dashboard):
        if not panel.get("title") or not panel.get("description"):
            yield panel.get("title", ""), "has no title or no description"


def panel_units(dashboard: Dashboard) -> Iterator[Finding]:
    for panel in panels(dashboard):
        if panel["type"] not in WITH_UNITS:
            continue
        field = panel["fieldConfig"]
        units = {field["defaults"].get("unit")} | {
            item["value"]
            for override in field["overrides"]
            for item in override["properties"]
            if item["id"] == "unit"
        }
        if units - UNITS:
            yield panel["title"], f"has no unit, or one that does not exist: {units - UNITS}"


def panel_no_targets(dashboard: Dashboard) -> Iterator[Finding]:
    for panel in panels(dashboard):
        if panel["type"] not in WITHOUT_TARGETS and not panel.get("targets"):
            yield panel["title"], "has no query"


def target_promql(dashboard: Dashboard) -> Iterator[Finding]:
    for panel, expr in targets(dashboard):
        try:
            promql.parse(substituted(expr))
        except ValueError as error:
            yield panel, f"{error}: {expr}"


def target_rate_interval(dashboard: Dashboard) -> Iterator[Finding]:
    for panel, expr, tree in parsed(dashboard):
        windows = re.findall(r"\[([^\]]+)\]", expr)
        uses_rate = any(call.func.name in COUNTER_READERS for call in calls(tree))
        if uses_rate and set(windows) != {"$__rate_interval"}:
            yield panel, f"uses {windows} and not $__rate_interval"


def _target_matcher(dashboard: Dashboard, name: str) -> Iterator[Finding]:
    for panel, expr, tree in parsed(dashboard):
        for selector in selectors(tree):
            matchers = [item for item in selector.matchers.matchers if item.name == name]
            if [item.op for item in matchers] != [
                promql.MatchOp.Re
            ] or f'{name}=~"${name}"' not in expr:
                yield panel, f'{selector.name} is not selected by {name}=~"${name}"'


def target_job(dashboard: Dashboard) -> Iterator[Finding]:
    yield from _target_matcher(dashboard, "job")


def target_instance(dashboard: Dashboard) -> Iterator[Finding]:
    yield from _target_matcher(dashboard, "instance")


def target_counter_agg(dashboard: Dashboard) -> Iterator[Finding]:
    for panel, _, tree in parsed(dashboard):
        read = {
            item.vector_selector.prettify()
            for call in calls(tree)
            if call.func.name in COUNTER_READERS
            for item in call.args
            if isinstance(item, promql.MatrixSelector)
        }
        for node in nodes(tree):
            if not isinstance(node, promql.VectorSelector) or not str(node.name).endswith(
                "_total"
            ):
                continue
            if node.prettify() not in read:
                yield panel, f"{node.name} is a counter and not read by rate or increase"


def target_logql(dashboard: Dashboard) -> Iterator[Finding]:
    for panel, expr in targets(dashboard, "loki"):
        problem = logql_problem(expr)
        if problem:
            yield panel, problem


def target_logql_auto(dashboard: Dashboard) -> Iterator[Finding]:
    for panel, expr in targets(dashboard, "loki"):
        windows = set(re.findall(r"\[([^\]]+)\]", expr))
        if windows - {"$__auto"}:
            yield panel, f"uses {windows} and not $__auto"


def uneditable_dashboard(dashboard: Dashboard) -> Iterator[Finding]:
    if dashboard["editable"]:
        yield "", "can be edited in the browser"


RULES: dict[str, Rule] = {
    "template-datasource-rule": template_datasource,
    "template-job-rule": template_job,
    "template-instance-rule": template_instance,
    "template-label-promql-rule": template_label_promql,
    "template-on-time-change-reload-rule": template_on_time_change_reload,
    "panel-datasource-rule": panel_datasource,
    "panel-title-description-rule": panel_title_description,
    "panel-units-rule": panel_units,
    "panel-no-targets-rule": panel_no_targets,
    "target-promql-rule": target_promql,
    "target-logql-rule": target_logql,
    "target-logql-auto-rule": target_logql_auto,
    "target-rate-interval-rule": target_rate_interval,
    "target-job-rule": target_job,
    "target-instance-rule": target_instance,
    "target-counter-agg-rule": target_counter_agg,
    "uneditable-dashboard-rule": uneditable_dashboard,
}

_LOGQL = re.compile(
    r"""\{ \s* \w+ \s* (=~|!~|!=|=) \s* "(\\.|[^"\\])*" (\s*,\s*\w+\s*(=~|!~|!=|=)\s*"(\\.|[^"\\])*")* \s* \}
    ( \s* (\|=|!=|\|~|!~) \s* "(\\.|[^"\\])*"
    | \s* \| \s* json
    | \s* \| \s* \w+ \s* (=~|!~|!=|=|>|<|>=|<=) \s* ("(\\.|[^"\\])*"|[0-9.]+) )* \s*""",
    re.VERBOSE,
)


def logql_problem(expr: str) -> str:
    """Say what is wrong with a log query: a selector, then filters of lines and labels."""
    return "" if _LOGQL.fullmatch(expr) else f"not a selector followed by filters: {expr}"


def exclusions() -> dict[str, Any]:
    """Return dashboards/.lint: rule → reason, and the entries that it is limited to."""
    excluded: dict[str, Any] = read_yaml(FOLDER / ".lint")["exclusions"]
    return excluded


def findings(dashboard: Dashboard) -> list[tuple[str, str, str]]:
    """Return (rule, panel, message) of what no exclusion covers."""
    return [
        (name, panel, message)
        for name, rule in RULES.items()
        for panel, message in rule(dashboard)
        if not covers(exclusions().get(name), panel, message)
    ]


def covers(exclusion: dict[str, Any] | None, panel: str, message: str) -> bool:
    if exclusion is None:
        return False
    entries = exclusion.get("entries")
    return entries is None or any(
        entry.get("panel", panel) == panel and entry.get("message", "") in message
        for entry in entries
    )
