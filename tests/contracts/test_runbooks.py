"""Runbooks: complete, and nothing in them that does not exist."""

import re
from collections.abc import Iterator
from pathlib import Path

import promql_parser as promql
import pytest

from alerting.catalogue import Alert, load_alerts
from alerting.document import read_yaml
from tests.contracts.metric_catalogue import all_metrics
from tests.contracts.promql import selectors

ROOT = Path(__file__).parents[2]
ALERTS = load_alerts()
METRICS = all_metrics()
HEADINGS = [
    "Meaning",
    "User impact",
    "Confirm in 60 s",
    "Causes",
    "Mitigate",
    "Verify recovery",
    "False positives",
    "Escalate",
    "Drill",
]
WORDS_MIN = 120
# What Prometheus itself adds to series.
ADDED = {"__name__", "job", "instance", "env", "service", "le", "version"}
OF_PROMETHEUS = {
    "ALERTS": {"alertname", "alertstate", "severity", "kind", "domain", "scope", "http_route"},
    "ALERTS_FOR_STATE": {"alertname"},
    "up": set(),
    "scrape_samples_scraped": set(),
}

pytestmark = pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert.name)


def body(alert: Alert) -> str:
    _, _, text = (alert.folder / "runbook.md").read_text().split("---\n", maxsplit=2)
    return text


def sections(alert: Alert) -> dict[str, str]:
    _, *parts = re.split(r"^## (.+)$", body(alert), flags=re.MULTILINE)
    return dict(zip(parts[::2], parts[1::2], strict=True))


def queries(text: str) -> list[str]:
    return re.findall(r"```promql\n(.*?)```", text, re.DOTALL)


def recorded() -> Iterator[str]:
    for file in (ROOT / "alerting").glob("*.yaml"):
        yield from re.findall(r"record: (\S+)", file.read_text())


RECORDED = set(recorded())


def test_it_has_every_section_and_something_to_say(alert: Alert) -> None:
    found = sections(alert)
    prose = re.sub(r"```.*?```", "", body(alert), flags=re.DOTALL)

    assert list(found) == HEADINGS, f"write these headings, each with `## `: {HEADINGS}"
    assert [heading for heading, text in found.items() if not text.strip()] == [], "they are empty"
    assert len(re.findall(r"[A-Za-z]{2,}", prose)) >= WORDS_MIN, (
        f"write {WORDS_MIN} words of prose or more"
    )


def test_its_head_says_what_its_rule_does(alert: Alert) -> None:
    head = alert.front_matter
    labels = [rule["labels"] for rule in alert.rules]

    assert head["alert"] == alert.name
    assert head["severity"] in {one["severity"] for one in labels}
    assert head["domain"] in {one["domain"] for one in labels}


def test_it_begins_to_confirm_with_a_query(alert: Alert) -> None:
    found = sections(alert)

    assert found.get("Confirm in 60 s", "").strip().startswith("```promql"), (
        "`## Confirm in 60 s` begins with a query, between ```promql and ```"
    )
    assert queries(found.get("Verify recovery", "")), "`## Verify recovery` has a query"


def test_its_queries_parse_and_use_metrics_and_labels_that_exist(alert: Alert) -> None:
    for query in queries(body(alert)):
        for selector in selectors(promql.parse(query)):
            name = selector.name
            assert name, query
            if name in RECORDED:
                continue
            known = OF_PROMETHEUS.get(name)
            if known is None:
                assert name in METRICS, f"{name} is no metric: {query}"
                known = set(METRICS[name].labels)
            used = {matcher.name for matcher in selector.matchers.matchers}
            assert used <= known | ADDED, query


def test_the_time_limit_of_a_scrape_is_the_one_in_force(alert: Alert) -> None:
    limit = read_yaml(ROOT / "alerting" / "prometheus.yml")["global"]["scrape_timeout"]

    for compared in re.findall(r"scrape_duration_seconds\S* (\S+ \d+)", body(alert)):
        assert compared == f">= {limit.removesuffix('s')}"


def test_its_commands_and_links_exist(alert: Alert) -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in set(re.findall(r"\bmake ([a-z-]+)", body(alert))):
        assert re.search(rf"^[a-z -]*\b{target}\b[a-z -]*:", makefile, re.MULTILINE), target
    for silenced in re.findall(r"ALERT=(\w+)", body(alert)):
        assert silenced in {other.name for other in ALERTS}
    for link in re.findall(r"\]\(([^)#]+)\)", body(alert)):
        assert (alert.folder / link).exists(), link
