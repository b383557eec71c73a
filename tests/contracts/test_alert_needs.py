"""What alerts need to be able to fire: declared in their runbooks, found again in their expressions."""

import promql_parser as promql
import pytest

from alerting.catalogue import Alert, AlertSourceError
from alerting.features import all_features, chosen, core_features, every_feature, needs_of
from alerting.needs import NEVER, NOTHING, Reader, Ways, declared, either, feature_of
from alerting.service import DEMO
from service import failures
from tests.contracts.metric_catalogue import all_metrics
from tests.contracts.test_alert_static import ALERTS, RECORDS

READER = Reader(RECORDS)


def ways(expression: str) -> Ways:
    return READER.ways(promql.parse(expression))


def one(*features: str) -> Ways:
    return frozenset({frozenset(features)})


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert.name)
def test_an_alert_declares_what_its_expression_cannot_fire_without(alert: Alert) -> None:
    found = either(*(ways(rule["expr"]) for rule in alert.rules))

    least = " or ".join(str(sorted(way)) for way in sorted(found, key=sorted))
    assert declared(needs_of(alert)) == found, (
        f"{alert.folder / 'runbook.md'}: its rule needs {least}: write that as `needs`"
    )


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ('rate(load_shed_total{job="service"}[1m]) > 1', one("admission")),
        ("load_shed_total and up", one("admission", "prometheus")),
        ("load_shed_total unless up", one("admission")),
        ("load_shed_total or up", either(one("admission"), one("prometheus"))),
        ("load_shed_total + up or up", one("prometheus")),
        ("absent(up)", NOTHING),
        ("vector(time())", NOTHING),
        ('app_failures_total{code="internal_error"}', one("failures")),
        ('app_failures_total{code="db_timeout"}', one("failures", "database")),
        ('app_failures_total{code=~"db_timeout|internal_error"}', one("failures")),
        ('service_code:app_failures:increase1m{code="overloaded"}', one("failures", "admission")),
        ('service_route_code_replica:failures:increase2m{code=~"probe_.+"}', one("prober")),
        ('app_failures_total{code="a"} or app_failures_total{code=~"b.+"}', one("failures")),
        ('service_code:app_failures:increase1m{code=~"(x)"} unless up', one("failures")),
    ],
)
def test_what_an_expression_needs_is_read_from_it(expression: str, expected: Ways) -> None:
    assert ways(expression) == expected


def test_a_code_that_a_record_leaves_out_is_never_in_it() -> None:
    only_probes = ways('service_route_code_replica:failures:increase2m{code="not_found"}')
    nothing = ways('app_failures_total{code="db_timeout",code="internal_error"}')

    assert (only_probes, nothing) == (one("prober"), NEVER)


def test_every_metric_belongs_to_one_feature() -> None:
    for metric in all_metrics():
        assert feature_of(metric) in every_feature()


def test_the_demo_has_every_feature() -> None:
    """What needs one that it lacks is left out of its rules and dashboards, and nobody notices."""
    assert every_feature() - DEMO.features == set(), "add them to `features` of firedrill.toml"


def test_every_metric_and_code_of_a_feature_exists() -> None:
    known = {*all_metrics(), *(name.removesuffix("_count") for name in all_metrics())}
    # A histogram is named without its suffixes, and so is what a recording rule makes of it.
    for feature in all_features().values():
        assert feature.metrics - known - set(RECORDS) == set(), feature.name
        assert feature.codes - set(failures.MODES) == set(), feature.name
        assert feature.has in {"always", "core", "extra"}


def test_no_code_has_two_owners() -> None:
    codes = [code for feature in all_features().values() for code in feature.codes]

    assert len(codes) == len(set(codes))


def test_what_the_stack_brings_need_not_be_chosen() -> None:
    assert {"http", "prometheus", "alertmanager"} <= chosen(["http"])
    assert "prober" not in chosen(["http"]) | core_features()


def test_a_feature_that_does_not_exist_is_refused_with_those_that_do() -> None:
    with pytest.raises(AlertSourceError, match=r"no feature is called htpp; there are .*http"):
        chosen(["htpp", "http"])
