"""What the record of the drills says in the heads of the runbooks, and what a drill asks of them."""

import shutil
from pathlib import Path
from typing import Any

import httpx
import pytest

from alerting.catalogue import ALERTS_FOLDER, load_alerts
from loadtests.observe import runbooks
from stack.prometheus import Prometheus


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the alerts' folders."""
    copy = tmp_path / "alerts"
    shutil.copytree(ALERTS_FOLDER, copy)
    monkeypatch.setattr(runbooks, "load_alerts", lambda: load_alerts(copy))
    return copy


def row(name: str, at: float, alert: str, *, date: str = "2026-01-02") -> dict[str, Any]:
    paged = {alert: at}
    return {"name": name, "date": date, "expected": [alert], "tickets": {}, "paged_seconds": paged}


def test_a_head_says_the_last_date_and_the_median_of_its_own_drill(folder: Path) -> None:
    rows = [
        row("db_pool_exhausted", 40.4, "DbPoolExhausted"),
        row("db_pool_exhausted", 50.0, "DbPoolExhausted", date="2026-01-03"),
        row("mended_fault", 90.0, "DbPoolExhausted", date="2026-01-04"),
    ]
    ticket = row("restart_loop", 0, "nothing") | {
        "expected": [],
        "tickets": {"ApiRestartLoop": 77},
    }

    runbooks.stamp({"drills": [*rows[1:], ticket], "repeats": rows[:1]})

    heads = {alert.name: alert.front_matter for alert in load_alerts(folder)}
    assert str(heads["DbPoolExhausted"]["last_drill"]) == "2026-01-03"
    assert heads["DbPoolExhausted"]["ttd_p50_seconds"] == 45
    assert heads["ApiRestartLoop"]["ttd_p50_seconds"] == 77
    assert heads["PostgresDown"]["last_drill"] == "never"
    assert heads["PostgresDown"]["ttd_p50_seconds"] is None


def test_a_runbook_is_confirmed_by_every_query_of_its_section() -> None:
    asked = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.params["query"])
        result = [{"metric": {}, "value": [0, "1"]}] if "connection_held" in asked[-1] else []
        return httpx.Response(200, json={"data": {"result": result}})

    prometheus = Prometheus("http://prometheus", transport=httpx.MockTransport(answer))

    assert runbooks.confirmed(prometheus, ["DeadMansSwitch"]) == {}
    assert asked == []
    found = runbooks.confirmed(prometheus, ["DbPoolExhausted", "PostgresDown"])
    assert found == {"DbPoolExhausted": True, "PostgresDown": False}
