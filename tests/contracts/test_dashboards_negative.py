"""The prover catches what it is for: one typo at a time, injected into the committed dashboards."""

import copy
from collections.abc import Callable
from typing import Any

import pytest

from dashboards.queries import UnknownVariable, asked, load, panels, substituted
from tests.contracts.dashboard_lint import findings
from tests.contracts.dashboard_typing import problems

DASHBOARDS = load()
Dashboard = dict[str, Any]


def caught(dashboard: Dashboard) -> list[str]:
    """What the static prover says of a dashboard."""
    found = [f"{rule}: {panel}" for rule, panel, _ in findings(dashboard)]
    for query in asked("", dashboard):
        try:
            found += problems(substituted(query.expr), is_read=query.kind != "variable")
        except UnknownVariable as error:
            found.append(str(error))
    return found


def test_nothing_is_caught_in_what_is_committed() -> None:
    assert [caught(dashboard) for dashboard in DASHBOARDS.values()] == [[]] * 6


# (dashboard, what it reads, the typo)
TYPOS = {
    "metric": ("landing", "app_failures_total", "app_failure_total"),
    "metric of another program": (
        "telemetry",
        "prometheus_tsdb_head_series",
        "prometheus_head_series",
    ),
    "recorded series": (
        "api",
        "errors_per_request:ratio_rate1h",
        "errors_per_request:ratio_rate2d",
    ),
    "label of a matcher": ("landing", 'http_route=~"$route"', 'route=~"$route"'),
    "label of an aggregation": (
        "contract",
        "sum by (field, error_type)",
        "sum by (fields, error_type)",
    ),
    "label of both sides": (
        "landing",
        "on (env, service, http_route)",
        "on (env, service, route)",
    ),
    "value of a closed label": ("oauth", 'state="half_open"', 'state="half-open"'),
    "code of the taxonomy": ("oauth", "provider_circuit_open", "provider_circuit_opened"),
    "job": ("telemetry", 'job="canary"', 'job="canaries"'),
    "variable": ("database", "$instance", "$instances"),
    "built-in variable": ("api", "$__rate_interval", "$__rate_intervall"),
    "function": ("api", "histogram_quantile", "histogram_quantil"),
    "bracket": ("database", "sum by (mode) (", "sum by (mode) (("),
    "buckets without le": ("database", "sum by (le) (rate(", "sum by (instance) (rate("),
    "rate of a gauge": (
        "api",
        "http_server_active_requests{",
        "rate(http_server_active_requests{",
    ),
    "counter without rate": ("oauth", "sum by (change) (rate(", "sum by (change) ((("),
}


@pytest.mark.slow
@pytest.mark.parametrize(("name", "right", "wrong"), TYPOS.values(), ids=TYPOS.keys())
def test_a_typo_in_a_query_is_caught(name: str, right: str, wrong: str) -> None:
    dashboard = copy.deepcopy(DASHBOARDS[name])
    targets = [target for panel in panels(dashboard) for target in panel["targets"]]
    target = next(target for target in targets if right in target["expr"])
    target["expr"] = target["expr"].replace(right, wrong, 1)

    assert caught(dashboard)


def _first_panel(dashboard: Dashboard) -> Dashboard:
    return next(panel for panel in panels(dashboard) if panel["type"] == "timeseries")


def _variable(dashboard: Dashboard, name: str) -> Dashboard:
    return next(item for item in dashboard["templating"]["list"] if item["name"] == name)


SABOTAGE: dict[str, Callable[[Dashboard], object]] = {
    "unit": lambda it: _first_panel(it)["fieldConfig"]["defaults"].update(unit="secs"),
    "no unit": lambda it: _first_panel(it)["fieldConfig"]["defaults"].pop("unit"),
    "no description": lambda it: _first_panel(it).update(description=""),
    "no title": lambda it: _first_panel(it).update(title=""),
    "no query": lambda it: _first_panel(it).update(targets=[]),
    "fixed data source": lambda it: _first_panel(it)["datasource"].update(uid="prometheus"),
    "editable": lambda it: it.update(editable=True),
    "no data source variable": lambda it: it["templating"]["list"].pop(0),
    "variable of an unknown metric": lambda it: _variable(it, "route").update(
        query="label_values(http_requests_total, http_route)"
    ),
    "variable that is no label query": lambda it: _variable(it, "env").update(query="up"),
    "variable asked only once": lambda it: _variable(it, "route").update(refresh=1),
    "annotation of an unknown metric": lambda it: it["annotations"]["list"][0].update(
        expr="api_builds_info"
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("break_it", SABOTAGE.values(), ids=SABOTAGE.keys())
def test_a_mistake_in_a_panel_variable_or_annotation_is_caught(
    break_it: Callable[[Dashboard], object],
) -> None:
    for dashboard in copy.deepcopy(DASHBOARDS).values():
        break_it(dashboard)

        assert caught(dashboard)
