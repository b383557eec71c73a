"""What the build makes of the sources: derived links, overrides, and one line for a wrong source."""

import re
from collections.abc import Iterator
from pathlib import Path

import promql_parser as promql
import pytest

from alerting import build, mutate, rule_tests
from alerting.catalogue import (
    RECORDING_FILES,
    Alert,
    AlertSourceError,
    front_matter,
    load_alerts,
    snake_case,
)
from alerting.document import read_yaml
from tests.contracts.test_alert_static import TYPING


def rules_of(out: Path, alert: str) -> list[dict[str, dict[str, str]]]:
    (group,) = read_yaml(out / "rules" / f"{snake_case(alert)}.yaml")["groups"]
    rules: list[dict[str, dict[str, str]]] = group["rules"]
    return rules


def overrides(folder: Path, text: str) -> Path:
    path = folder / "overrides.yaml"
    path.write_text(text)
    return path


def test_links_are_derived_from_names_and_follow_the_viewer(tmp_path: Path) -> None:
    build.render(tmp_path, viewer_url="http://127.0.0.1:4000")

    for alert in load_alerts():
        for rule in rules_of(tmp_path, alert.name):
            annotations = rule["annotations"]
            dashboard = build.DASHBOARDS[rule["labels"]["domain"]]
            assert annotations["runbook_url"] == f"http://127.0.0.1:4000/runbooks/{alert.name}"
            assert annotations["dashboard_url"].startswith(
                f"http://127.0.0.1:4000/d/{dashboard}?var-env="
            )


def test_no_text_asks_the_expression_for_a_label_that_it_does_not_have(tmp_path: Path) -> None:
    """`$labels` holds what the expression gives, and nothing of what the rule adds: links came out empty."""
    build.render(tmp_path)

    for alert in load_alerts():
        for rule in rules_of(tmp_path, alert.name):
            has = TYPING.labels(promql.parse(str(rule["expr"])))
            for text in rule["annotations"].values():
                asked = set(re.findall(r"\$labels\.(\w+)", text))
                # Links leave out a route that is not there.
                assert asked - has <= {"http_route"}, f"{alert.name}: {asked - has}"
                assert "$labels.http_route" not in text.partition("{{ with $labels.http_route")[
                    0
                ] or ("http_route" in has), alert.name


def test_no_link_or_query_of_a_fired_alert_is_empty() -> None:
    for alert in load_alerts():
        for text in fired_texts(alert):
            assert not re.search(r'var-\w+=(&|$)|(env|service)=""', text), f"{alert.name}: {text}"


def fired_texts(alert: Alert) -> Iterator[str]:
    """Yield the texts that promtool has seen the alert fire with."""
    for test in read_yaml(alert.folder / "rule_test.yaml")["tests"]:
        for expectation in test.get("alert_rule_test", ()):
            for expected in expectation["exp_alerts"] or ():
                yield from expected["exp_annotations"].values()


def test_every_paged_text_lists_the_other_causes_that_fire(tmp_path: Path) -> None:
    build.render(tmp_path)

    for alert in load_alerts():
        for rule in rules_of(tmp_path, alert.name):
            listed = f'alertname!="{alert.name}"' in rule["annotations"]["description"]
            assert listed == (rule["labels"]["severity"] != "none"), alert.name


def test_prometheus_finds_every_rule_file_beside_its_configuration(tmp_path: Path) -> None:
    written = build.render(tmp_path)

    assert read_yaml(tmp_path / "prometheus.yml")["rule_files"] == ["rules/*.yaml"]
    assert sorted((tmp_path / "rules").iterdir()) == sorted(written)
    assert len(written) == len(load_alerts()) + len(RECORDING_FILES)


def test_static_env_labels_become_those_of_the_installation(tmp_path: Path) -> None:
    build.render(tmp_path, environment="compose")

    (absent,) = rules_of(tmp_path, "TargetAbsent")
    assert absent["labels"]["env"] == "compose"


def test_a_disabled_alert_is_left_out_and_its_old_file_removed(tmp_path: Path) -> None:
    build.render(tmp_path)

    build.render(tmp_path, overrides=overrides(tmp_path, "disabled: [EventLoopBlocked]"))

    assert not (tmp_path / "rules" / "event_loop_blocked.yaml").exists()
    assert (tmp_path / "rules" / "service_down.yaml").exists()


def test_an_overridden_severity_ships(tmp_path: Path) -> None:
    build.render(tmp_path, overrides=overrides(tmp_path, "severity: {ServiceOverloaded: ticket}"))

    (rule,) = rules_of(tmp_path, "ServiceOverloaded")
    assert rule["labels"]["severity"] == "ticket"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("disabled: [EventLoopBloked]", "no alert is called EventLoopBloked"),
        ("severity: {ServiceOverloaded: urgent}", "not urgent"),
        ("disabled: [", "is not valid YAML"),
        ("severity: [ServiceOverloaded]", "severity must be"),
        ("- EventLoopBlocked", "must hold"),
    ],
)
def test_a_wrong_override_is_one_clear_error(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        build.render(tmp_path, overrides=overrides(tmp_path, text))


@pytest.mark.parametrize(
    ("runbook", "said"),
    [
        ("Meaning", "must begin with front matter between two lines of ---: alert, severity, "),
        ("---\nalert: X\nneeds: []\ndomain: http\n---\n", "lacks severity, owner, drill"),
    ],
)
def test_a_head_that_is_not_whole_says_what_it_lacks(
    tmp_path: Path, runbook: str, said: str
) -> None:
    (tmp_path / "runbook.md").write_text(runbook)

    with pytest.raises(AlertSourceError, match=said):
        front_matter(tmp_path / "runbook.md")


def test_a_wrong_source_is_one_line_of_the_commands_that_test_rules(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert rule_tests.main(["DbPoolExhaust"]) == 2
    assert mutate.main(["--only", "DbPoolExhaustet"]) == 2
    monkeypatch.setattr(rule_tests, "render", lambda _: front_matter(Path("runbook.md")))
    assert rule_tests.main(["DbPoolExhausted"]) == 2

    first, second, third = capsys.readouterr().err.splitlines()
    assert first.startswith("alerting.rule_tests: no alert is called DbPoolExhaust; write it as ")
    assert second.startswith(
        "alerting.mutate: no mutant begins with DbPoolExhaustet; write it as "
    )
    assert third == "alerting.rule_tests: runbook.md is missing: every alert has a runbook"


def test_the_command_line_says_what_is_wrong_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")

    assert build.main(["--out", str(blocked)]) == 2
    assert capsys.readouterr().err.startswith("alerting.build: ")


def test_a_wrong_description_of_a_service_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "firedrill.toml"
    file.write_text('[service]\nname = "shop"\n[slo]\nobjective = 0.99\nfast_within = 0.3\n')

    assert build.main(["--out", str(tmp_path / "out"), "--service", str(file)]) == 2

    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "slo.fast_within: the histogram has no such bound; write one of 0.005," in said


def test_a_folder_named_unlike_its_alert_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "service_down"
    folder.mkdir()
    (folder / "rule.yaml").write_text("groups: [{name: X, rules: [{alert: PostgresDown}]}]")

    with pytest.raises(AlertSourceError, match="named like the folder"):
        load_alerts(tmp_path)
