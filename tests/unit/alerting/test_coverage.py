"""The coverage table: which alerts can fire, what the others wait for, and what a drill has proven."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from alerting import coverage
from alerting.catalogue import load_alerts
from alerting.features import all_features, chosen, needs_of

SHOP = '[service]\nname = "shop"\n'
CORE = "http,failures,database"
HOW_CHARACTERS = 40


def drill(
    name: str, seconds: float, alert: str = "DbPoolExhausted", **more: Any
) -> dict[str, Any]:
    expected = {"expected": [alert], "tickets": {}, "paged_seconds": {alert: seconds}}
    return {"name": name, **expected, **more}


def told(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, *arguments: str, drills: Any = ()
) -> str:
    record = tmp_path / "drills.json"
    record.write_text(json.dumps({"drills": list(drills)}))
    assert coverage.main([*arguments, "--record", str(record)]) == 0
    return capsys.readouterr().out


def row(text: str, alert: str) -> str:
    (found,) = (line for line in text.splitlines() if line.startswith(f"{alert} "))
    return " ".join(found.split())


@pytest.fixture
def shop(tmp_path: Path) -> str:
    file = tmp_path / "firedrill.toml"
    file.write_text(SHOP)
    return str(file)


def test_what_is_missing_is_said_with_the_way_to_get_it(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, shop: str
) -> None:
    text = told(capsys, tmp_path, shop)

    assert row(text, "ApiProbeFailing") == "ApiProbeFailing prober: [probe] routes"
    assert row(text, "ApiErrorBudgetBurn") == "ApiErrorBudgetBurn objectives: [slo] objective"
    assert row(text, "DbPoolExhausted") == "DbPoolExhausted no drill yet"


def test_either_of_two_features_is_enough(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    neither = told(capsys, tmp_path, "--features", CORE)
    one = told(capsys, tmp_path, "--features", f"{CORE}, breaker")

    assert "oauth: " in row(neither, "CalendarProviderDown")
    assert ", or breaker" in neither
    assert row(one, "CalendarProviderDown") == "CalendarProviderDown no drill yet"


def test_the_drill_of_the_runbook_proves_else_the_quickest(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    drills = [
        drill("mended_fault", 20),
        drill("db_pool_exhausted", 39.6),
        drill("two_faults", 30),
        drill("slow_one", 50, "ServiceDown"),
        drill("quick_one", 40.4, "ServiceDown"),
    ]

    text = told(capsys, tmp_path, drills=drills)

    assert row(text, "DbPoolExhausted") == "DbPoolExhausted db_pool_exhausted, 40 s"
    assert row(text, "ServiceDown") == "ServiceDown quick_one, 40 s"


def test_a_drill_proves_what_it_had_to_make_fire_and_did(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    missed = drill("missed", 0, "PostgresDown", paged_seconds={})
    by_chance = drill("chance", 5, "ServiceDown", paged_seconds={"TargetAbsent": 5})
    ticket = drill("ticket", 9, "TargetDown", expected=[], tickets={"TargetDown": 9})
    silent = drill("silent", 43, "DeadMansSwitch")

    text = told(capsys, tmp_path, drills=[missed, by_chance, ticket, silent])

    assert row(text, "PostgresDown").endswith("no drill yet")
    assert row(text, "TargetAbsent").endswith("no drill yet")
    assert row(text, "TargetDown").endswith("ticket, 9 s")
    assert row(text, "Watchdog").endswith("silent, 43 s")
    heard = len(load_alerts()) - len({"FaultRecovering"})
    assert text.endswith(f"2 of {heard} are proven by a drill\n")


def test_a_drill_of_another_service_proves_nothing(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, shop: str
) -> None:
    other = drill("other", 9, "ServiceDown")
    own = drill("own", 9, service="shop")

    text = told(capsys, tmp_path, shop, drills=[other, own])

    assert row(text, "ServiceDown").endswith("no drill yet")
    assert row(text, "DbPoolExhausted").endswith("own, 9 s")


def test_the_demo_is_proven_by_its_published_record(capsys: pytest.CaptureFixture[str]) -> None:
    assert coverage.main(["--record", str(coverage.DOCUMENTED)]) == 0

    text = capsys.readouterr().out
    assert f"{len(load_alerts())} alerts: {len(load_alerts())} can fire, 0 cannot" in text
    assert row(text, "ServiceDown").startswith("ServiceDown service_killed, ")


def test_it_fits_eighty_columns_and_each_alert_is_in_it_once(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")

    text = told(capsys, tmp_path, "--features", "http")

    assert max(len(line) for line in text.splitlines()) <= 80
    for alert in load_alerts():
        assert row(text, alert.name)


def test_totals_add_up(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    features = chosen(CORE.split(","))
    can = [alert for alert in load_alerts() if all(need & features for need in needs_of(alert))]

    text = told(capsys, tmp_path, "--features", CORE)

    total = len(load_alerts())
    assert f"{total} alerts: {len(can)} can fire, {total - len(can)} cannot" in text


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[service", "it is no TOML"),
        (f"{SHOP}[slo]\nobjective = 0.9\nfast_within = 0.3", "slo.fast_within: the histogram"),
        (f'{SHOP}features = ["htpp"]', "service.features: no feature is called htpp"),
    ],
)
def test_a_wrong_file_is_one_line_and_exit_2(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, text: str, said: str
) -> None:
    file = tmp_path / "firedrill.toml"
    file.write_text(text)

    assert coverage.main([str(file)]) == 2

    line = capsys.readouterr().err
    assert line.startswith(f"alerting.coverage: {file}: ")
    assert line.count("\n") == 1
    assert re.search(said, line), line


@pytest.mark.parametrize("content", ["{}", "[]", "no json", '{"drills": [{}]}'])
def test_a_wrong_record_is_one_line_and_exit_2(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, content: str
) -> None:
    record = tmp_path / "record.json"
    record.write_text(content)

    assert coverage.main(["--record", str(record)]) == 2
    assert "is no record of drills" in capsys.readouterr().err


def test_a_missing_file_and_an_unknown_feature_are_exit_2(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert coverage.main([str(tmp_path / "none.toml")]) == 2
    assert coverage.main(["--features", "htpp"]) == 2
    assert capsys.readouterr().err.count("\n") == 2


def test_how_to_get_a_feature_is_one_short_phrase() -> None:
    long = {name for name, item in all_features().items() if len(item.how) > HOW_CHARACTERS}

    assert long == set(), f"shorten their `how` to {HOW_CHARACTERS} characters"
