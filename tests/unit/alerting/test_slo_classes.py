"""The classes of routes as data: what they select, and what is refused."""

import re
from typing import Any

import promql_parser as promql
import pytest

from alerting import slo
from alerting.classes import matcher
from alerting.service import DEMO
from firedrill_kit.config import SloClass

OTHERS = SloClass(name="default", routes=None, objective=0.999, fast_within_seconds=0.25)
SLOW = SloClass(
    name="slow",
    routes=("/api/v1/reports/*", "/files/{name}.csv"),
    objective=0.99,
    fast_within_seconds=5,
)
HEALTH = SloClass(name="health", routes=("/health",), objective=None)


def rules_of(*classes: SloClass) -> list[dict[str, Any]]:
    documents = (
        slo.recording_groups(classes),
        slo.error_budget_rules(classes),
        slo.latency_budget_rules(classes),
    )
    return [rule for item in documents for group in item["groups"] for rule in group["rules"]]


def claims(item: SloClass, route: str, *given: SloClass) -> bool:
    """Whether the matcher of the class lets the route pass, as Prometheus anchors it."""
    text = matcher(item, given)
    if not text:
        return True
    selector = promql.parse(f"x{{{text[1:]}}}")
    assert isinstance(selector, promql.VectorSelector)
    (found,) = selector.matchers.matchers
    return (re.fullmatch(found.value, route) is not None) is bool(found.op == promql.MatchOp.Re)


@pytest.mark.parametrize(
    ("route", "owner"),
    [
        ("/api/v1/reports/daily", "slow"),
        ("/api/v1/reports/{report_id}/pages", "slow"),
        ("/api/v1/reports", "default"),
        ("/files/{name}.csv", "slow"),
        ("/files/{name}xcsv", "default"),
        ("/health", "health"),
        ("/users/{user_id}", "default"),
        ("/", "default"),
    ],
)
def test_every_route_is_in_one_class(route: str, owner: str) -> None:
    given = (OTHERS, SLOW, HEALTH)

    assert [item.name for item in given if claims(item, route, *given)] == [owner]


def test_a_class_alone_is_that_of_every_route() -> None:
    assert matcher(OTHERS, (OTHERS,)) == ""


def test_every_route_of_the_demo_is_in_the_class_that_names_it() -> None:
    given = DEMO.classes
    for item in given:
        for route in item.routes or ():
            assert [other.name for other in given if claims(other, route, *given)] == [item.name]


@pytest.mark.parametrize(
    "classes",
    [(OTHERS,), (OTHERS, SLOW, HEALTH), (HEALTH,), (), DEMO.classes,
     (SloClass(name="default", routes=None, objective=0.95),)],
)  # fmt: skip
def test_the_rules_of_any_classes_are_promql(classes: tuple[SloClass, ...]) -> None:
    for rule in rules_of(*classes):
        promql.parse(rule["expr"])


def test_a_class_that_is_promised_nothing_has_no_budget() -> None:
    budgets = [rule for rule in rules_of(OTHERS, HEALTH) if ":ratio" in rule.get("record", "")]

    assert {rule["labels"]["slo_class"] for rule in budgets if "labels" in rule} == {"default"}


def test_a_class_that_does_not_page_is_left_out_of_the_tiers_that_do() -> None:
    batch = SloClass(name="batch", routes=("/batch",), objective=0.99, pages=False)
    rules = [rule for rule in rules_of(OTHERS, batch) if rule.get("alert") == "ApiErrorBudgetBurn"]

    by_route = [rule for rule in rules if rule["labels"]["scope"] != "service"]
    assert len(by_route) == len(slo.ERROR_TIERS)
    for rule in by_route:
        assert ('slo_class!="batch"' in rule["expr"]) == (rule["labels"]["severity"] == "page")


def test_no_tier_pages_when_no_class_does() -> None:
    quiet = SloClass(name="default", routes=None, objective=0.99, pages=False)
    rules = [rule for rule in rules_of(quiet) if "alert" in rule]

    assert {rule["labels"]["severity"] for rule in rules} == {"ticket"}


def test_the_budget_of_the_service_is_that_of_its_strictest_classes() -> None:
    lower = SloClass(name="lower", routes=("/lower",), objective=0.9)
    (slowest,) = (
        rule
        for rule in rules_of(OTHERS, SLOW, lower)
        if rule.get("record") == "service:http_server_errors:increase3d"
    )

    assert 'slo_class!~"slow|lower"' in slowest["expr"]
