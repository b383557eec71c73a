"""The rules of grafana/dashboard-linter hold, but for what dashboards/.lint excludes with a reason."""

import pytest

from dashboards.queries import load
from tests.contracts.dashboard_lint import (
    RULES,
    Dashboard,
    covers,
    exclusions,
    findings,
    logql_problem,
)

DASHBOARDS = load()
every_dashboard = pytest.mark.parametrize("dashboard", DASHBOARDS.values(), ids=DASHBOARDS.keys())


@every_dashboard
def test_a_dashboard_breaks_no_rule_of_the_linter(dashboard: Dashboard) -> None:
    assert findings(dashboard) == []


def test_the_linter_has_its_17_rules() -> None:
    assert len(RULES) == 17


def test_every_exclusion_has_a_reason_and_is_needed() -> None:
    for rule, exclusion in exclusions().items():
        assert len(exclusion["reason"]) > 40, rule
        broken = [
            finding for dashboard in DASHBOARDS.values() for finding in RULES[rule](dashboard)
        ]
        for entry in exclusion.get("entries", [{}]):
            alone = {"entries": [entry]}
            assert any(covers(alone, *finding) for finding in broken), (
                f"{rule}: {entry} is not needed"
            )


@pytest.mark.parametrize(
    ("expr", "is_good"),
    [
        ('{service_name="api"} | json | http_route =~ "/api/v1/profile"', True),
        ('{service_name="api"} |= "timeout" | trace_id = "00ff"', True),
        ('{service_name="api"', False),
        ("{service_name=api}", False),
        ('{service_name="api"} | jsn', False),
        ('| code = "x"', False),
    ],
)
def test_log_queries_are_a_selector_and_filters(expr: str, *, is_good: bool) -> None:
    assert (logql_problem(expr) == "") == is_good
