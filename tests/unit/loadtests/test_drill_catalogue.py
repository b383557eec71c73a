from pathlib import Path

import yaml

from loadtests import drills
from loadtests.drills import catalogue
from loadtests.record.readme import QUICK
from stack.settings import ROOT

RULES = [
    rule
    for file in (ROOT / "alerting" / "alerts").glob("*/rule.yaml")
    for group in yaml.safe_load(file.read_text())["groups"]
    for rule in group["rules"]
]
ALERTS = {rule["alert"]: rule for rule in RULES}
BY_THE_PAGER = {"DeadMansSwitch"}
BUDGET = {"ApiErrorBudgetBurn", "ApiLatencyBudgetBurn"}
NO_DRILL = "unit_test"
"""What the runbook of a ticket names that has unit tests alone."""


def test_each_drill_is_in_a_file_of_its_name() -> None:
    files = {file.stem for file in Path(drills.__path__[0]).glob("*.py")}

    assert set(catalogue()) == files - {"__init__", "__main__"}, "`name` is that of the file"


def test_the_quick_drills_exist() -> None:
    assert set(QUICK) <= set(catalogue())


def test_what_a_drill_expects_to_page_is_an_alert_that_pages() -> None:
    expected = {alert for drill in catalogue().values() for alert in drill.expects}

    for alert in expected - BY_THE_PAGER - BUDGET:
        assert ALERTS[alert]["labels"]["severity"] == "page", alert


def test_what_a_drill_expects_as_a_ticket_is_an_alert_that_does_not_page() -> None:
    expected = {alert for drill in catalogue().values() for alert in drill.tickets}

    for alert in expected:
        assert ALERTS[alert]["labels"]["severity"] == "ticket", alert


def test_each_break_of_a_drill_has_a_page_of_its_own_or_the_drill_is_silent() -> None:
    for drill in catalogue().values():
        assert len(drill.expects) in {0, len(drill.breaks)}, drill.name


def test_each_alert_that_pages_has_a_drill() -> None:
    pages = {rule["alert"] for rule in RULES if rule["labels"]["severity"] == "page"}
    drilled = {alert for drill in catalogue().values() for alert in drill.expects}

    assert pages - drilled == set(), "name them in `expects` of a file in loadtests/drills/"


def test_each_drill_that_a_runbook_names_exists() -> None:
    heads = [
        yaml.safe_load(file.read_text().split("---")[1])
        for file in (ROOT / "alerting" / "alerts").glob("*/runbook.md")
    ]
    named = {head["drill"] for head in heads if head.get("drill")}
    pages = {head["drill"] for head in heads if head["severity"] == "page"}

    assert named - {*catalogue(), NO_DRILL} == set(), (
        f"write loadtests/drills/<name>.py, or `drill: {NO_DRILL}` in the runbook of a ticket"
    )
    assert NO_DRILL not in pages, "an alert that pages has a drill"
