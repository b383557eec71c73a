"""The rules of a service that is not the demo: what is left out, that it is quiet, and that it pages."""

import json
from pathlib import Path
from typing import Any

import promql_parser as promql
import pytest

from alerting.build import render
from alerting.catalogue import FOLDER, load_alerts
from alerting.document import read_yaml
from alerting.features import every_feature
from alerting.rule_tests import Outcome, promtools, run
from alerting.service import described
from firedrill_kit.config import FILE
from tests.contracts.foreign_series import document, exhausted, healthy
from tests.contracts.promql import selectors
from tests.contracts.test_alert_routes import CONFIG, Labels, matches

SHOP = Path(__file__).parent / "foreign_service.toml"
SCRAPES = 120
EXHAUSTED_SINCE = 60
ANY_ALERT = 'ALERTS{alertname!="Watchdog"}'
HEARD = (
    "group by (alertname, severity, kind, scope, burn_tier, holds, http_route, env, service) "
    '(ALERTS{alertname!="Watchdog",severity!="ticket",alertstate="firing"})'
)
"""All that is not a ticket: what pages, and what can mute a page."""

_ITEMS = {"env": "local", "service": "shop", "http_route": "/items/"}
_BURN = {**_ITEMS, "alertname": "ApiErrorBudgetBurn", "scope": "items", "kind": "symptom",
         "severity": "page"}  # fmt: skip
_RECOVERING = {**_ITEMS, "alertname": "FaultRecovering", "kind": "meta", "severity": "none"}
CAUSE: Labels = {"alertname": "DbPoolExhausted", "kind": "cause", "severity": "page",
                 "scope": "service", "env": "local", "service": "shop"}  # fmt: skip
FIRING: tuple[Labels, ...] = (
    CAUSE,
    *({**_BURN, "burn_tier": tier} for tier in ("p0", "p1", "p2")),
    *({**_RECOVERING, "holds": held} for held in ("symptoms", "slow_tiers")),
)
"""What fires two minutes after the pools are held."""


def judged(built: Path, series: list[dict[str, str]], expected: Any) -> Outcome:
    rule_files = sorted(f"rules/{path.name}" for path in (built / "rules").iterdir())
    test = built / "test.json"
    test.write_text(json.dumps(document(rule_files, series, expected)))
    return run(test, built, promtool=promtools()[-1])


def sample(labels: Labels) -> dict[str, Any]:
    text = ",".join(f'{name}="{value}"' for name, value in labels.items())
    return {"labels": f"{{{text}}}", "value": 1}


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shop")
    render(folder, service=described(SHOP))
    return folder


@pytest.mark.slow
def test_foreign_service_healthy_four_workers_only_core_features_no_alert(shop: Path) -> None:
    times = ("1m", "3m", "5m", "7m", "9m30s")

    outcome = judged(shop, healthy(SCRAPES), {(ANY_ALERT, time): [] for time in times})

    assert outcome.passed, outcome.output


@pytest.mark.slow
def test_it_is_as_quiet_under_the_rules_of_features_that_it_has_not(tmp_path: Path) -> None:
    """A verdict that is not there is no bad verdict: db_up, the breaker, the schema's age."""
    render(tmp_path, service=described(SHOP, features=every_feature()))

    outcome = judged(tmp_path, healthy(SCRAPES), {(ANY_ALERT, time): [] for time in ("2m", "9m")})

    assert outcome.passed, outcome.output


@pytest.mark.slow
def test_foreign_service_pool_exhausted_pages(shop: Path) -> None:
    series = exhausted(SCRAPES, since=EXHAUSTED_SINCE)

    outcome = judged(
        shop, series, {(HEARD, "4m50s"): [], (HEARD, "7m"): [sample(item) for item in FIRING]}
    )

    assert outcome.passed, outcome.output


def muted(labels: Labels) -> bool:
    """Whether Alertmanager mutes it while all of FIRING fires."""
    return any(
        matches(labels, rule["target_matchers"])
        and matches(source, rule["source_matchers"])
        and all(labels.get(name, "") == source.get(name, "") for name in rule["equal"])
        for rule in CONFIG["inhibit_rules"]
        for source in FIRING
    )


def test_the_exhausted_pool_is_not_inhibited_and_mutes_its_symptoms() -> None:
    assert not muted(CAUSE)
    assert {item["burn_tier"] for item in FIRING if "burn_tier" in item and muted(item)} == {
        "p0",
        "p1",
        "p2",
    }


def test_rules_of_missing_features_are_not_there(shop: Path) -> None:
    there = {path.stem for path in (shop / "rules").iterdir()}

    assert {"db_pool_exhausted", "api_error_budget_burn", "target_absent"} <= there
    assert not {"postgres_down", "calendar_provider_down", "service_overloaded"} & there


def test_nothing_of_the_demo_is_left_in_the_rules(tmp_path: Path) -> None:
    """The probes' rules leave out no route of a provider that the shop has not.

    CalendarProviderDown, which needs one of the two features, is still about the demo's provider alone.
    """
    features = every_feature() - {"oauth", "breaker"}
    render(tmp_path, service=described(SHOP, features=features))

    for path in (tmp_path / "rules").iterdir():
        text = path.read_text()
        assert "/api/v1/" not in text, path.name
        assert 'service="api"' not in text, path.name
        assert "service: api" not in text, path.name


def test_what_an_alert_reads_is_recorded(shop: Path) -> None:
    groups = [group for path in (shop / "rules").iterdir() for group in read_yaml(path)["groups"]]
    rules = [rule for group in groups for rule in group["rules"]]
    recorded = {rule["record"] for rule in rules if "record" in rule}

    for rule in rules:
        for selector in selectors(promql.parse(rule["expr"])):
            assert ":" not in str(selector.name) or selector.name in recorded


def test_the_file_of_the_demo_renders_the_rules_of_the_demo(tmp_path: Path) -> None:
    render(tmp_path, service=described(FOLDER.parent / FILE))

    assert (tmp_path / "rules/slo.yaml").read_text() == (FOLDER / "slo.yaml").read_text()
    for alert in load_alerts():
        (written,) = read_yaml(tmp_path / "rules" / f"{alert.snake_name}.yaml")["groups"]
        for rule, source in zip(written["rules"], alert.rules, strict=True):
            assert rule["expr"] == source["expr"], alert.name
