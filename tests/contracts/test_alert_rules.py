"""The rules as they ship, run by promtool: every alert's own tests, lint, and what is generated."""

import shutil
import subprocess
from pathlib import Path

import pytest

from alerting import slo
from alerting.build import render
from alerting.catalogue import FOLDER
from alerting.rule_tests import files_of_tests, promtools, run

RULE_TESTS = files_of_tests()


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("built")
    render(folder)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("promtool", promtools())
@pytest.mark.parametrize("name", RULE_TESTS)
def test_rules_do_what_their_tests_say(name: str, promtool: str, built: Path) -> None:
    outcome = run(RULE_TESTS[name], built, promtool=promtool)

    assert outcome.passed, outcome.output


@pytest.mark.parametrize("promtool", promtools())
def test_rules_and_configuration_are_valid_without_a_warning(promtool: str, built: Path) -> None:
    rules = [str(path) for path in sorted((built / "rules").glob("*.yaml"))]

    checked = subprocess.run(
        [promtool, "check", "rules", "--lint=all", "--lint-fatal", *rules],
        capture_output=True,
        text=True,
        check=False,
    )
    config = subprocess.run(
        [promtool, "check", "config", str(built / "prometheus.yml")],
        capture_output=True,
        text=True,
        check=False,
    )

    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert config.returncode == 0, config.stdout + config.stderr


@pytest.mark.parametrize("file", slo.FILES)
def test_what_is_written_from_the_table_is_committed_as_written(file: str, tmp_path: Path) -> None:
    for name in slo.FILES:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)

    slo.write(tmp_path)

    assert (tmp_path / file).read_text() == (FOLDER / file).read_text(), (
        "run `python -m alerting.slo`"
    )


def test_a_broken_rule_fails_its_tests(built: Path, tmp_path: Path) -> None:
    """The tests above would pass on nothing if promtool did not find the rules."""
    broken = tmp_path / "built"
    shutil.copytree(built, broken)
    rules = broken / "rules" / "postgres_down.yaml"
    rules.write_text(rules.read_text().replace("== 0", "== 1"))

    assert not run(RULE_TESTS["PostgresDown"], broken, promtool=promtools()[0]).passed


def test_each_alert_is_tested_firing_silent_and_without_data() -> None:
    for name, path in RULE_TESTS.items():
        text = path.read_text()
        if name in {"recording", "Watchdog"}:
            continue
        assert "exp_labels" in text, name
        assert "exp_alerts: []" in text, name
        assert "input_series: []" in text or "TargetAbsent" in text or "no prober" in text, name
