"""Who hears of which alert: the whole matrix, through amtool, on the files that ship."""

import functools
import itertools
import os
import re
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from alerting.catalogue import load_alerts
from alerting.document import read_yaml
from alerting.routing import (
    COMMITTED,
    InvalidRouting,
    available_receivers,
    render,
)
from stack.pager.metrics import RECEIVERS
from stack.pager.pager import LAPSE_SECONDS
from stack.pager.web import MAX_BODY_BYTES

CONFIG: dict[str, Any] = yaml.safe_load(COMMITTED.read_text(encoding="utf-8"))
ROUTES = [CONFIG["route"], *CONFIG["route"]["routes"]]
SNAPSHOT = Path(__file__).parent / "alert_routes.yaml"
SLACK_URL = "https://hooks.slack.com/services/T000/B000/a-planted-secret"

ALERT_BYTES_MAX = 80_000
"""More than a rule can make: a label of the service has at most 200 characters, a text lists three."""

Labels = dict[str, str]


def amtool(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["amtool", *arguments], capture_output=True, text=True, check=False)


@functools.cache
def shipped_labels() -> list[Labels]:
    """The static labels of every rule; what the expression adds is not routed by, but grouped by."""
    return [
        {"alertname": alert.name, "env": "local", "service": "api"}
        | {name: value for name, value in rule["labels"].items() if "{{" not in value}
        for alert in load_alerts()
        for rule in alert.rules
    ]


@functools.cache
def fired_labels() -> list[Labels]:
    """The full labels of every alert that a rule test expects to fire, each once."""
    fired = {
        tuple(sorted({"alertname": alert.name, **expected["exp_labels"]}.items()))
        for alert in load_alerts()
        for test in read_yaml(alert.folder / "rule_test.yaml")["tests"]
        for expectation in test.get("alert_rule_test", ())
        for expected in expectation.get("exp_alerts") or ()
    }
    return [dict(labels) for labels in sorted(fired)]


def routed_to(labels: Labels, config: Path = COMMITTED) -> str:
    done = amtool(
        "config", "routes", "test", f"--config.file={config}", *map("=".join, labels.items())
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def expected_receiver(labels: Labels) -> str:
    by_name = {"Watchdog": "deadman", "AlertDeliveryFailing": "second_channel"}
    by_severity = {"page": "pager", "ticket": "ticket", "none": "nobody"}
    return by_name.get(labels["alertname"]) or by_severity[labels["severity"]]


def test_every_alert_reaches_who_should_hear_of_it() -> None:
    routed = {tuple(sorted(labels.items())): routed_to(labels) for labels in shipped_labels()}

    assert routed
    assert routed == {key: expected_receiver(dict(key)) for key in routed}


def test_the_matrix_is_the_one_that_was_reviewed() -> None:
    """A severity that changes by accident shows here."""
    heard: dict[str, set[str]] = {}
    for labels in shipped_labels():
        name = " ".join(labels[key] for key in ("alertname", "burn_tier") if key in labels)
        heard.setdefault(name, set()).add(expected_receiver(labels))
    matrix = {name: " and ".join(sorted(receivers)) for name, receivers in heard.items()}
    if os.environ.get("UPDATE_SNAPSHOTS"):
        SNAPSHOT.write_text(yaml.safe_dump(matrix), encoding="utf-8")

    assert yaml.safe_load(SNAPSHOT.read_text(encoding="utf-8")) == matrix, (
        f"if that is meant, run this test with UPDATE_SNAPSHOTS=1: it writes {SNAPSHOT.name}"
    )


def test_the_doctors_alert_goes_to_the_pager_as_no_page() -> None:
    assert routed_to({"alertname": "FiredrillDoctor", "severity": "none"}) == "doctor"


def test_what_nobody_thought_of_is_a_ticket() -> None:
    assert routed_to({"alertname": "FromAnotherTeam"}) == "ticket"


def test_no_alert_goes_two_ways() -> None:
    assert [route for route in ROUTES if route.get("continue")] == []


def test_the_committed_configuration_is_valid() -> None:
    done = amtool("check-config", str(COMMITTED))

    assert done.returncode == 0, done.stdout + done.stderr


def test_every_address_is_one_that_the_pager_answers() -> None:
    hosts: dict[str, str] = {}
    for receiver in CONFIG["receivers"]:
        for webhook in receiver.get("webhook_configs", ()):
            host, _, path = webhook["url"].partition("/webhook/")
            assert path in RECEIVERS
            assert path == receiver["name"]
            hosts[path] = host

    assert set(hosts) == set(RECEIVERS)
    assert hosts.pop("second_channel") not in hosts.values()
    assert len(set(hosts.values())) == 1


def test_the_pager_forgets_no_group_that_alertmanager_still_repeats() -> None:
    for route in ROUTES:
        repeat = route.get("repeat_interval", CONFIG["route"]["repeat_interval"])
        lapse = LAPSE_SECONDS.get(route["receiver"])
        hours = re.fullmatch(r"(\d+)h", repeat)
        if lapse is not None:
            assert hours is not None
            assert lapse > int(hours[1]) * 3600


def seconds_of(setting: str, receiver: str) -> int:
    (route,) = (route for route in ROUTES if route["receiver"] == receiver)
    return int(route.get(setting, CONFIG["route"][setting]).removesuffix("s"))


@pytest.mark.parametrize("receiver", ["pager", "second_channel", "ticket"])
def test_what_was_sent_is_resolved_within_half_a_minute_of_its_alert(receiver: str) -> None:
    assert seconds_of("group_interval", receiver) <= 30


def test_a_ticket_is_told_within_45_seconds_and_after_the_page_that_would_mute_it() -> None:
    assert seconds_of("group_wait", "pager") < seconds_of("group_wait", "ticket") <= 40


def test_a_symptom_gives_its_cause_twenty_seconds_before_it_pages() -> None:
    """PostgresDown, the slowest cause of a total outage, fires up to 21 s after the budget's p0."""
    wait = seconds_of("group_wait", "pager")
    symptoms = [
        rule
        for alert in load_alerts()
        for rule in alert.rules
        if (rule["labels"]["severity"], rule["labels"]["kind"]) == ("page", "symptom")
        # The slower tiers need a longer history of errors than any cause.
        and rule["labels"].get("burn_tier", "p0") == "p0"
    ]

    assert symptoms
    assert all(int(rule["for"].removesuffix("s")) + wait >= 20 for rule in symptoms)


def test_no_notification_is_larger_than_the_pager_reads() -> None:
    webhooks = [
        webhook
        for receiver in CONFIG["receivers"]
        for webhook in receiver.get("webhook_configs", ())
    ]

    assert webhooks
    for webhook in webhooks:
        assert 0 < webhook["max_alerts"] * ALERT_BYTES_MAX <= MAX_BODY_BYTES


def test_watchdog_is_repeated_faster_than_it_is_grouped() -> None:
    """Alertmanager rounds repeat_interval up to the next group_interval: 20 s here, not 40."""
    watchdog = CONFIG["route"]["routes"][0]

    assert watchdog["matchers"] == ['alertname="Watchdog"']
    assert int(watchdog["repeat_interval"][:-1]) < int(watchdog["group_interval"][:-1]) <= 20


# Inhibition: amtool cannot test it, the live scenarios do; here is what no scenario can see.

MATCHER = re.compile(r'([a-z_]+)(=~|!=|=)"([^"]*)"')


def matches(labels: Labels, matchers: list[str]) -> bool:
    for text in matchers:
        found = MATCHER.fullmatch(text)
        assert found, f"{text} is not quoted as both generations of Alertmanager read it"
        name, operator, wanted = found.groups()
        value = labels.get(name, "")
        is_match = re.fullmatch(wanted, value) is not None if operator == "=~" else value == wanted
        if is_match == (operator == "!="):
            return False
    return True


@pytest.mark.parametrize(
    "rule", CONFIG["inhibit_rules"], ids=lambda rule: rule["source_matchers"][0]
)
def test_an_inhibition_compares_labels_that_are_there(rule: dict[str, Any]) -> None:
    """A label that is missing on both sides counts as equal, and mutes everything."""
    alerts = fired_labels()
    sources = [labels for labels in alerts if matches(labels, rule["source_matchers"])]
    targets = [labels for labels in alerts if matches(labels, rule["target_matchers"])]

    assert sources
    assert targets
    for labels in [*sources, *targets]:
        for name in {"env", "service"} & set(rule["equal"]):
            assert labels.get(name), f"{labels['alertname']} has no {name}"
    for source, target in itertools.product(sources, targets):
        missing = [n for n in rule["equal"] if not source.get(n) and not target.get(n)]
        assert not missing, f"{source['alertname']} mutes {target['alertname']} without {missing}"


@pytest.mark.parametrize(
    "rule", CONFIG["inhibit_rules"], ids=lambda rule: rule["source_matchers"][0]
)
def test_no_alert_is_on_both_sides_of_an_inhibition(rule: dict[str, Any]) -> None:
    both = [
        labels["alertname"]
        for labels in shipped_labels()
        if matches(labels, rule["source_matchers"]) and matches(labels, rule["target_matchers"])
    ]

    assert both == []


def test_every_alert_that_is_named_exists() -> None:
    known = {alert.name for alert in load_alerts()} | {"FiredrillDoctor"}
    texts = [text for route in ROUTES for text in route.get("matchers", ())]
    for rule in CONFIG["inhibit_rules"]:
        texts += [*rule["source_matchers"], *rule["target_matchers"]]
    named = [
        name
        for text in texts
        if text.startswith("alertname")
        for name in text[:-1].partition('"')[2].split("|")
    ]

    assert named
    assert [name for name in named if not any(re.fullmatch(name, one) for one in known)] == []


# Rendered copies: moved ports and receivers beside the pager.


def rendered(out: Path, **environ: str) -> Path:
    return render(
        out,
        pager_url="http://127.0.0.1:21095/",
        second_channel_url="http://127.0.0.1:21097",
        environ=environ,
    )


def test_addresses_move_and_nothing_else_changes(tmp_path: Path) -> None:
    text = rendered(tmp_path).read_text()

    moved_back = text.replace("127.0.0.1:21095", "127.0.0.1:9095").replace(
        "127.0.0.1:21097", "127.0.0.1:9097"
    )
    assert yaml.safe_load(moved_back) == CONFIG
    assert "127.0.0.1:9095" not in text


@pytest.mark.parametrize("wanted", [*available_receivers(), ",".join(available_receivers())])
def test_a_receiver_is_added_beside_the_pager(tmp_path: Path, wanted: str) -> None:
    config = rendered(tmp_path, ALERT_RECEIVERS=wanted, ALERT_SECRETS_DIR="/etc/firedrill")
    done = amtool("check-config", str(config))
    receivers = {one["name"]: one for one in yaml.safe_load(config.read_text())["receivers"]}

    assert done.returncode == 0, done.stdout + done.stderr
    assert receivers["pager"]["webhook_configs"][0]["url"].endswith("21095/webhook/pager")
    assert len(receivers["pager"]) == 2 + len(wanted.split(","))
    files = [value for key, value in leaves(receivers) if key.endswith("_file")]
    assert files
    assert {str(Path(file).parent) for file in files} == {"/etc/firedrill"}


def test_no_receiver_holds_a_secret(tmp_path: Path) -> None:
    config = rendered(tmp_path, ALERT_RECEIVERS=",".join(available_receivers()))
    secret_settings = {"api_url", "api_key", "routing_key", "service_key", "auth_password"}

    assert not secret_settings & {key for key, _ in leaves(yaml.safe_load(config.read_text()))}


def leaves(node: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(node, dict):
        for key, value in node.items():
            yield key, value
            yield from leaves(value)
    elif isinstance(node, list):
        for value in node:
            yield from leaves(value)


def test_slack_needs_one_variable_and_its_secret_stays_in_a_file(tmp_path: Path) -> None:
    config = rendered(tmp_path, SLACK_API_URL=SLACK_URL)
    (slack,) = next(
        one["slack_configs"]
        for one in yaml.safe_load(config.read_text())["receivers"]
        if one["name"] == "pager"
    )
    secret = Path(slack["api_url_file"])

    assert "planted" not in config.read_text()
    assert secret.read_text() == SLACK_URL
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    assert amtool("check-config", str(config)).returncode == 0


@pytest.mark.parametrize("wanted", [{"ALERT_RECEIVERS": "pager_duty"}, {"SLACK_API_URL": "hooks"},
                                    {"SLACK_API_URL": "http://hooks.example.com/x"}])  # fmt: skip
def test_a_receiver_that_cannot_be_is_refused(tmp_path: Path, wanted: dict[str, str]) -> None:
    with pytest.raises(InvalidRouting, match=next(iter(wanted))):
        rendered(tmp_path, **wanted)


def test_the_command_says_what_is_wrong_in_one_line(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "alerting.routing", "--out", str(tmp_path), "--pager-url", "x"],
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "python -m alerting.routing: the pager's address must look like http://127.0.0.1:9095\n"
    )
