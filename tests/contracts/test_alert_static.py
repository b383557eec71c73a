"""What can be said of a rule without running it: names, labels, guards, and texts.

The expressions are read as syntax trees; `promql.py` beside this file works out which labels a result
has. Rules are looked at as they are written; the rendered ones differ in annotations alone.
"""

import functools
import re
from collections.abc import Iterator
from typing import Any

import promql_parser as promql
import pytest

from alerting.build import DASHBOARDS, SEVERITIES
from alerting.catalogue import FOLDER, RECORDING_FILES, Alert, load_alerts
from alerting.document import read_yaml
from alerting.mutants import _seconds
from alerting.needs import records
from alerting.slo import SCOPE
from service import failures
from tests.contracts.metric_catalogue import all_metrics, closed_values
from tests.contracts.promql import (
    COUNTER_FUNCTIONS,
    TARGET_LABELS,
    Typing,
    calls,
    is_comparison,
    nodes,
    selectors,
)

Rule = dict[str, Any]
SCRAPE_SECONDS = 5
PAGE_FOR_LIMIT_SECONDS = 300
SCOPES = {"service", "calendar", "monitoring", SCOPE}
KINDS = {"cause", "symptom", "meta"}

METRICS = all_metrics()
ALERTS = load_alerts()
RULES = [(alert.name, rule) for alert in ALERTS for rule in alert.rules]


@functools.cache
def recording_groups() -> list[dict[str, Any]]:
    return [group for file in RECORDING_FILES for group in read_yaml(FOLDER / file)["groups"]]


RECORDS = records()
TYPING = Typing({name: metric.labels for name, metric in METRICS.items()}, RECORDS)


def all_rules() -> Iterator[tuple[str, Rule]]:
    yield from RULES
    yield from ((rule["record"], rule) for rules in RECORDS.values() for rule in rules)


def rule_ids() -> list[str]:
    seen: dict[str, int] = {}
    ids = []
    for name, _ in all_rules():
        seen[name] = seen.get(name, 0) + 1
        ids.append(f"{name}-{seen[name]}" if seen[name] > 1 else name)
    return ids


every_rule = pytest.mark.parametrize(("name", "rule"), list(all_rules()), ids=rule_ids())
every_alert_rule = pytest.mark.parametrize(("name", "rule"), RULES, ids=rule_ids()[: len(RULES)])


@every_rule
def test_every_metric_label_and_value_exists(name: str, rule: Rule) -> None:
    closed = closed_values()
    for selector in selectors(promql.parse(rule["expr"])):
        metric = str(selector.name)
        assert metric in RECORDS or metric in METRICS, f"{name} uses unknown {metric}"
        known = (
            TYPING.labels(selector)
            if metric in RECORDS
            else METRICS[metric].labels | TARGET_LABELS
        )
        for matcher in selector.matchers.matchers:
            assert matcher.name in known, f"{metric} has no label {matcher.name}"
            values = closed.get((metric, matcher.name), frozenset())
            unknown = set(matcher.value.split("|")) - values if values else set()
            assert not unknown, f"{metric} never has {matcher.name}={unknown}"


@every_rule
def test_metrics_of_one_program_are_selected_by_its_job(name: str, rule: Rule) -> None:
    """Another program may export a metric of the same name, `up` and `process_*` to begin with."""
    for selector in selectors(promql.parse(rule["expr"])):
        if str(selector.name) in RECORDS or selector.name == "ALERTS":
            continue
        jobs = [item.value for item in selector.matchers.matchers if item.name == "job"]
        expected = METRICS[str(selector.name)].job
        assert jobs, f"{name}: {selector.prettify()} without job"
        assert expected == "any" or jobs == [expected]


@every_rule
def test_counters_are_read_by_rate_or_increase_over_four_scrapes(name: str, rule: Rule) -> None:
    tree = promql.parse(rule["expr"])
    in_ranges = set()
    for call in calls(tree):
        ranges = [item for item in call.args if isinstance(item, promql.MatrixSelector)]
        for item in ranges:
            metric = str(item.vector_selector.name)
            in_ranges.add(item.vector_selector.prettify())
            is_counter = metric in METRICS and METRICS[metric].kind == "counter"
            if call.func.name == "last_over_time":
                continue  # asks whether the series exists, not for its value
            assert is_counter == (call.func.name in COUNTER_FUNCTIONS), (
                f"{name}: {call.func.name}() of {metric}"
            )
            if is_counter:
                assert item.range.total_seconds() >= 4 * SCRAPE_SECONDS
        if call.func.name in COUNTER_FUNCTIONS:
            assert ranges, f"{name}: {call.prettify()} is a rate of a sum"
    for selector in selectors(tree):
        metric = str(selector.name)
        if metric in METRICS and METRICS[metric].kind == "counter":
            assert selector.prettify() in in_ranges, f"{name} reads {metric} without rate"


@every_rule
def test_both_sides_of_every_operation_can_match(name: str, rule: Rule) -> None:
    assert list(TYPING.mismatches(promql.parse(rule["expr"]))) == [], name


@every_rule
def test_results_are_aggregated_without_instance(name: str, rule: Rule) -> None:
    labels = TYPING.labels(promql.parse(rule["expr"]))

    assert "instance" not in labels or name == "TargetDown"


@every_alert_rule
def test_rule_labels_never_overwrite_a_label_of_the_result(name: str, rule: Rule) -> None:
    result = TYPING.labels(promql.parse(rule["expr"]))

    assert result & set(rule["labels"]) == set(), name


@every_alert_rule
def test_every_alert_carries_the_labels_that_routing_and_inhibition_compare(
    name: str, rule: Rule
) -> None:
    labels = rule["labels"]
    known = TYPING.labels(promql.parse(rule["expr"])) | set(labels)

    assert labels["severity"] in SEVERITIES
    assert labels["kind"] in KINDS
    assert labels["domain"] in DASHBOARDS
    assert {"env", "service"} <= known
    assert name == "Watchdog" or "scope" in known or labels["severity"] == "none"
    assert labels.get("scope", SCOPE) in SCOPES | {"service"}
    assert labels.get("scope") != SCOPE or "http_route" in known
    assert not any("$value" in str(value) for value in labels.values())


@every_alert_rule
def test_telemetry_is_no_cause_of_an_answer(name: str, rule: Rule) -> None:
    """What is called a cause mutes symptoms and is listed in their texts as "Causes firing"."""
    assert (rule["labels"]["domain"] == "telemetry") <= (rule["labels"]["kind"] == "meta"), name


@every_alert_rule
def test_every_alert_compares_something(name: str, rule: Rule) -> None:
    """An expression without a comparison fires on any data, zero included."""
    tree = promql.parse(rule["expr"])
    by_presence = {"TargetAbsent", "Watchdog", "FaultRecovering"}

    assert name in by_presence or any(is_comparison(node) for node in nodes(tree))


@every_alert_rule
def test_a_ratio_that_pages_needs_a_minimum_count(name: str, rule: Rule) -> None:
    """Without one a single failed request on a quiet route wakes somebody."""
    expression = rule["expr"]
    is_ratio = ":ratio" in expression or re.search(r"\)\s*/", expression)
    if rule["labels"]["severity"] != "page" or not is_ratio:
        return
    minimum = [
        node
        for node in nodes(promql.parse(expression))
        if is_comparison(node)
        and str(node.op) == ">="
        and isinstance(node.rhs, promql.NumberLiteral)
        and node.rhs.val >= 5
    ]
    assert minimum, f"{name} pages on a ratio without a minimum count"


@every_alert_rule
def test_for_is_short_on_pages_and_present_with_absent(name: str, rule: Rule) -> None:
    seconds = _seconds(rule.get("for", "0s"))

    if rule["labels"]["severity"] == "page":
        assert seconds <= PAGE_FOR_LIMIT_SECONDS, name
    if any(call.func.name == "absent" for call in calls(promql.parse(rule["expr"]))):
        assert seconds >= 2 * SCRAPE_SECONDS


@every_rule
def test_regular_expressions_are_used_only_where_they_are_needed(name: str, rule: Rule) -> None:
    for selector in selectors(promql.parse(rule["expr"])):
        for matcher in selector.matchers.matchers:
            if matcher.op == promql.MatchOp.Re or matcher.op == promql.MatchOp.NotRe:  # noqa: PLR1714  (not hashable)
                assert re.search(r"[|.*+?(\[]", matcher.value), f"{name}: {matcher.value}"


@every_alert_rule
def test_texts_show_values_for_people_and_links_are_not_typed(name: str, rule: Rule) -> None:
    annotations = rule["annotations"]
    shown = re.findall(r"\{\{-? *\$value([^}]*)\}\}", annotations["description"])

    assert "{{" not in annotations["summary"]
    assert annotations["summary"].endswith(".")
    # A count is whole, though increase() extrapolates; anything else is rounded by humanize.
    assert all("humanize" in pipe or "%.0f" in pipe for pipe in shown), name
    assert set(annotations) <= {"summary", "description", "beat"}
    assert "http://" not in str(annotations)


def test_expressions_over_hours_are_recorded_once_a_minute() -> None:
    for group in recording_groups():
        longest = max(
            (
                node.range.total_seconds()
                for rule in group["rules"]
                for node in nodes(promql.parse(rule["expr"]))
                if isinstance(node, promql.MatrixSelector)
            ),
            default=0,
        )
        assert longest <= 3600 or group.get("interval") == "1m", group["name"]


def test_every_recorded_series_is_used_by_an_alert_or_another_record() -> None:
    used = {
        str(selector.name)
        for _, rule in all_rules()
        for selector in selectors(promql.parse(rule["expr"]))
    }

    assert set(RECORDS) - used == set()


def test_recorded_names_say_level_metric_and_operation() -> None:
    assert [name for name in RECORDS if not re.fullmatch(r"\w+:\w+:\w+", name)] == []


def test_what_tells_one_fault_from_another_are_all_failures_of_ours_or_of_a_dependency() -> None:
    (rule,) = RECORDS["service_route_code_replica:failures:increase2m"]
    matched = re.findall(r'code=~"([^"]+)"', rule["expr"])

    assert [set(codes.split("|")) for codes in matched] == [
        {mode.code for mode in failures.MODES.values() if mode.status >= 500}
    ]


def test_every_failure_mode_names_an_alert_that_exists() -> None:
    owners = {mode.alert for mode in failures.MODES.values() if mode.alert}

    assert owners - {alert.name for alert in ALERTS} == set()


def test_the_catalogue_is_complete() -> None:
    pages = {name for name, rule in RULES if rule["labels"]["severity"] == "page"}

    assert len(ALERTS) >= 46
    assert pages >= {"ApiErrorBudgetBurn", "ApiValidationBroken", "DbPoolExhausted", "ServiceDown"}


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert.name)
def test_an_alert_is_one_folder_of_three_files(alert: Alert) -> None:
    assert sorted(path.name for path in alert.folder.iterdir()) == [
        "rule.yaml",
        "rule_test.yaml",
        "runbook.md",
    ]
