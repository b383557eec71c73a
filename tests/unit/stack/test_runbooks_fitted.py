"""The runbooks of a service that is not the demo: of its rules alone, with its commands and drills."""

from pathlib import Path

import pytest

from alerting.build import render
from alerting.catalogue import load_alerts
from alerting.service import service_of
from stack.described import Described, read_described
from stack.runbooks import Runbooks, fitted

FILE = """
[service]
name = "shop"

[runbooks]
database = "psql service=shop"
status = "systemctl status shop"

[load.mix]
"GET /orders" = 5

[database]
admin_dsn = "$ADMIN_DSN"

[[drill]]
name = "lock_it"
break = {lock = "orders"}
load = {"GET /orders" = 5}
pages = ["DbPoolExhausted"]
within = 60
"""


@pytest.fixture
def described(tmp_path: Path) -> Described:
    (tmp_path / "firedrill.toml").write_text(FILE)
    return read_described({"SERVICE": str(tmp_path)})


@pytest.fixture
def runbooks(described: Described, tmp_path: Path) -> Runbooks:
    render(tmp_path, service=service_of(described.config))
    return Runbooks(tmp_path / "rules", described)


def test_only_alerts_whose_rules_are_rendered_have_one(runbooks: Runbooks) -> None:
    there = runbooks.alerts().keys()

    assert {"DbPoolExhausted", "ServiceDown"} <= there
    assert not {"CalendarProviderDown", "PostgresDown", "ServiceOverloaded"} & there
    assert runbooks.html("CalendarProviderDown") is None


def test_a_code_whose_alert_is_not_there_says_what_it_means(runbooks: Runbooks) -> None:
    assert runbooks.owner("db_pool_exhausted") == "DbPoolExhausted"
    assert runbooks.owner("overloaded") is None
    assert "No alert owns it" in str(runbooks.html("overloaded"))


def test_commands_are_those_of_the_file_and_else_ours_for_this_service(
    described: Described,
) -> None:
    alert = next(alert for alert in load_alerts() if alert.name == "DbPoolExhausted")
    text = (
        "`make psql`, `make status`, `make up`, `make silence ALERT=X FOR=1h`\n"
        "## Drill\n`make drill NAME=db_pool_exhausted`, LOCK TABLE profiles\n"
    )

    assert fitted(text, alert, described) == (
        f"`psql service=shop`, `systemctl status shop`, `make up SERVICE={described.file}`,"
        f" `make silence ALERT=X FOR=1h SERVICE={described.file}`\n"
        f"## Drill\n`make drill NAME=lock_it SERVICE={described.file}`.\n"
    )


def test_no_runbook_that_is_served_names_what_only_the_demo_has(runbooks: Runbooks) -> None:
    for name in runbooks.alerts():
        html = str(runbooks.html(name))
        for only_there in ("make psql", "profiles", "/api/v1", "docs/drills"):
            assert only_there not in html, name
