"""A stack around a service that is not the demo: its settings, its parts, what is scraped and ruled."""

import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from alerting.document import read_yaml
from firedrill_kit.config import MissingVariableError
from stack import discovery, lifecycle
from stack.__main__ import main
from stack.described import Described
from stack.lifecycle import StackError, settings_of_running
from stack.part import Part
from stack.parts import parts_of
from stack.processes import Running, identity_of
from stack.programs import COLLECTOR, SOURCES
from stack.settings import ROOT, Settings, SettingsError, read_settings
from stack.state import State, read_state, write_state

SERVICE = """
[service]
name = "shop/eu"
environment = "test"
address = "http://127.0.0.1:8700"
metrics_port = 19464
workers = 4
otlp = "http://127.0.0.1:14318"

[slo]
objective = 0.999
"""
PROBED = """
[client]
sign_in = "POST /login"
form = {username = "$PROBE_USER", password = "$PROBE_PASSWORD"}
[probe]
routes = ["GET /me"]
[database]
admin_dsn = "$ADMIN_DSN"
"""
PROCESS = """
[process]
start = "sh -c 'serve it' --port {port} --key $KEY"
prepare = ["sh one", "sh two"]
environment = {METRICS = "{metrics_port}", FIREDRILL_LOGS = "off"}
"""
SECRETS = {
    "PROBE_USER": "ada",
    "PROBE_PASSWORD": "s3cret",
    "ADMIN_DSN": "postgresql://me:s3cret@127.0.0.1/shop",
    "KEY": "a b",
    "PATH": os.environ["PATH"],
}
PROGRAMS = dict.fromkeys([*SOURCES, COLLECTOR], "program")
AROUND = [
    *(
        "collector",
        "dashboards",
        "viewer",
        "prometheus",
        "alertmanager",
        "pager",
        "second-channel",
    ),
    *("prober", "log-rotation"),
]


def settings_of(folder: Path, text: str, **variables: str) -> Settings:
    (folder / "firedrill.toml").write_text(text)
    return read_settings({"SERVICE": str(folder), **variables})


def parts(settings: Settings, environment: Mapping[str, str] | None = None) -> dict[str, Part]:
    return {part.name: part for part in parts_of(settings, PROGRAMS, environment)}


def test_a_service_that_runs_keeps_its_ports_and_the_offset_moves_all_others(
    tmp_path: Path,
) -> None:
    settings = settings_of(tmp_path, SERVICE, PORT_OFFSET="100")

    assert settings.service_urls_for_others == ["http://127.0.0.1:8700"]
    assert settings.service_targets == [f"127.0.0.1:{port}" for port in range(19464, 19468)]
    assert (settings.ports["otlp"], settings.ports["pager"]) == (14318, 9195)
    assert settings.local == ROOT / ".local" / "services" / "shop_eu"


def test_one_that_is_started_moves_with_the_others(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, SERVICE + PROCESS, PORT_OFFSET="100", REPLICAS="2")

    assert settings.service_urls_for_others == [
        "http://127.0.0.1:8800",
        "http://127.0.0.1:8801",
    ]
    assert settings.service_targets == [f"127.0.0.1:{port}" for port in range(19564, 19572)]
    assert settings.ports["otlp"] == 14418


def test_the_demos_own_file_is_the_demo() -> None:
    assert read_settings({"SERVICE": str(ROOT)}) == read_settings({})


def test_commands_that_are_named_are_about_the_same_stack(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    service = settings_of(tmp_path, SERVICE).service
    monkeypatch.setenv("SERVICE", str(tmp_path))

    assert main(["status"]) == 1

    assert capsys.readouterr().out == f"nothing is running; {service.make('up')} starts it\n"
    assert service.make("up") == f"`make up SERVICE={tmp_path / 'firedrill.toml'}`"
    assert read_settings({}).service.make("up") == "`make up`"


def test_a_running_service_on_another_machine_is_scraped_there(tmp_path: Path) -> None:
    text = SERVICE.replace('"http://127.0.0.1:8700"', '"https://shop.example.com"')

    assert settings_of(tmp_path, text).service_targets[0] == "shop.example.com:19464"


@pytest.mark.parametrize(
    ("text", "variables", "said"),
    [
        ("[service]", {}, "service.name: it is missing"),
        (SERVICE, {"REPLICAS": "2"}, "REPLICAS: nothing here starts the service: add [process]"),
        (SERVICE, {"FAULT_PROXIES": "viewer"}, "FAULT_PROXIES are of the demo"),
        (SERVICE.replace("19464", "9094"), {}, "PAGER_PORT and service.metrics_port both ask"),
        (SERVICE.replace("127.0.0.1:14318", "collector:4318"), {}, "service.otlp: nothing here"),
        (SERVICE.replace("127.0.0.1:14318", "127.0.0.1"), {}, "service.otlp: nothing here"),
        (SERVICE.replace("127.0.0.1:8700", "shop:80") + PROCESS, {}, "service.address: nothing"),
    ],
)
def test_what_cannot_be_used_is_one_line_and_exit_2(
    tmp_path: Path,
    text: str,
    variables: dict[str, str],
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = tmp_path / "firedrill.toml"
    file.write_text(text)
    monkeypatch.delenv("PORT_OFFSET", raising=False)  # of who runs the tests beside a stack
    for name, value in ({"SERVICE": str(file)} | variables).items():
        monkeypatch.setenv(name, value)

    assert main(["status"]) == 2

    (line,) = capsys.readouterr().err.splitlines()
    assert said in line


@pytest.mark.parametrize("command", [["psql"], ["seed"], ["token", "--user", "a@example.com"]])
def test_commands_of_the_demo_refuse_another_service(
    tmp_path: Path,
    command: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "firedrill.toml").write_text(SERVICE)
    monkeypatch.setenv("SERVICE", str(tmp_path))

    assert main(command) == 2
    assert "leave SERVICE out" in capsys.readouterr().err


def test_around_a_running_service_is_nothing_of_the_demo(tmp_path: Path) -> None:
    found = parts(settings_of(tmp_path, SERVICE), {})

    assert list(found) == AROUND
    assert found["collector"].environment["OTLP_PORT"] == "14318"
    assert found["collector"].environment["SERVICE_NAME"] == "shop/eu"
    assert found["prober"].environment["SERVICE_URLS"] == "http://127.0.0.1:8700"


@pytest.mark.parametrize("dsn", ["", SECRETS["ADMIN_DSN"]])
def test_the_exporter_runs_when_the_database_is_known(tmp_path: Path, dsn: str) -> None:
    local = str(tmp_path / "local")
    settings = settings_of(tmp_path, SERVICE + PROBED, ADMIN_DSN=dsn, FIREDRILL_LOCAL=local)
    found = parts(settings, SECRETS | {"ADMIN_DSN": dsn})
    groups = dict(discovery.targets(settings, has_collector=True))
    discovery.write(settings, has_collector=True)
    rules = {file.stem for file in (settings.prometheus / "rules").iterdir()}

    assert ("postgres-exporter" in found) == ("postgres" in groups) == bool(dsn)
    assert ("postgres_connections_high" in rules) == bool(dsn)
    if dsn:
        told = found["postgres-exporter"].environment
        assert told == {"DATA_SOURCE_NAME": dsn, "PGSSLMODE": "disable"}


def test_a_variable_that_the_file_asks_for_is_named_before_anything_starts(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, SERVICE + PROBED)

    with pytest.raises(MissingVariableError, match="PROBE_PASSWORD is not set"):
        parts(settings, {"PROBE_USER": "ada"})
    assert "prober" in parts(settings), "status and down need no secrets"


def test_a_service_that_we_start_comes_after_what_prepares_it(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, SERVICE + PROCESS, REPLICAS="2")
    found = parts(settings, SECRETS)
    first, second = found["service-1"], found["service-2"]

    assert found["prepare-2"].after == ("prepare-1",)
    assert first.after == ("prepare-2",)
    for watching in ("prober", "prometheus"):
        assert found[watching].after == ("service-1", "service-2")
    assert first.command == ["sh", "-c", "serve it", "--port", "8700", "--key", "a b"]
    assert second.environment["FIREDRILL_METRICS_PORT"] == "19468"
    assert second.environment["METRICS"] == "19468"
    assert (first.environment["OTEL_SERVICE_NAME"], first.environment["FIREDRILL_LOGS"]) == (
        "shop/eu",
        "off",
    )
    assert first.environment["FIREDRILL_CONFIG"] == str(settings.service.file)
    assert [port for _, port in first.ports] == [8700, 19464, 19465, 19466, 19467]
    assert second.log(settings).name == "shop_eu.2.jsonl"
    assert (first.directory, first.is_task, found["prepare-1"].is_task) == (tmp_path, False, True)


@pytest.mark.parametrize(
    ("start", "said"),
    [
        ("nowhere-to-be-found --port 1", "no program is called nowhere-to-be-found; activate"),
        ("./start.sh", r"no program is called ./start.sh"),
        ("sh 'x", "is no command: no closing quotation"),
        (" ", "is no command; correct"),
    ],
)
def test_a_command_that_cannot_run_is_refused(tmp_path: Path, start: str, said: str) -> None:
    settings = settings_of(tmp_path, f'{SERVICE}[process]\nstart = "{start}"\n')

    with pytest.raises(SettingsError, match=said):
        parts(settings, SECRETS)


def test_targets_and_rules_are_those_of_the_file(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, SERVICE + PROBED, FIREDRILL_LOCAL=str(tmp_path / "local"))

    groups = dict(discovery.targets(settings, has_collector=False))
    discovery.write(settings, has_collector=False)

    assert groups["service"] == {
        "targets": [f"127.0.0.1:{port}" for port in range(19464, 19468)],
        "labels": {"job": "service", "service": "shop/eu", "env": "test"},
    }
    assert groups.keys() == {
        *("service", "prober", "canary", "prometheus", "alertmanager", "pager", "viewer"),
    }
    written = {file.stem for file in (settings.prometheus / "targets").iterdir()}
    assert written == groups.keys()
    (absent,) = read_yaml(settings.prometheus / "rules/target_absent.yaml")["groups"][0]["rules"]
    assert absent["expr"] == 'absent(up{job="service",service="shop/eu"})'
    assert absent["labels"]["env"] == "test"
    assert absent["annotations"]["runbook_url"].startswith("http://127.0.0.1:3030/runbooks/")
    assert not (settings.prometheus / "rules/postgres_down.yaml").exists()


def test_links_lead_where_the_file_says(tmp_path: Path) -> None:
    links = '[links]\ndashboards = "https://grafana.example.com"\n'
    settings = settings_of(tmp_path, SERVICE + links, FIREDRILL_LOCAL=str(tmp_path / "local"))

    discovery.write(settings, has_collector=False)

    (absent,) = read_yaml(settings.prometheus / "rules/target_absent.yaml")["groups"][0]["rules"]
    assert absent["annotations"]["runbook_url"].startswith("https://grafana.example.com/")


def test_a_stack_of_another_file_is_not_taken_for_this_ones(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, SERVICE, FIREDRILL_LOCAL=str(tmp_path / "local"))
    settings.local.mkdir()
    me = Running("viewer", os.getpid(), identity_of(os.getpid()) or "", 0.0, 15, "")
    shape = (dict(settings.ports), 1, False, ())
    write_state(settings, State({"viewer": me}, *shape, settings.service.fingerprint))

    assert settings_of_running(settings, read_state(settings)).ports == settings.ports

    changed = settings_of(tmp_path, SERVICE + PROBED, FIREDRILL_LOCAL=str(tmp_path / "local"))
    demo = read_settings({"FIREDRILL_LOCAL": str(tmp_path / "local")})
    for other in (changed, demo):
        with pytest.raises(StackError, match=f"run {other.service.make('down')} first"):
            settings_of_running(other, read_state(other))


def test_clean_leaves_the_stacks_of_other_services(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("logs", "reports", "services/shop/logs"):
        (tmp_path / name).mkdir(parents=True)
    monkeypatch.setattr(Described, "local", tmp_path)
    monkeypatch.setattr("stack.postgres.remove", lambda _local: None)

    lifecycle.clean(read_settings({}))

    assert [path.name for path in tmp_path.iterdir()] == ["services"]
    assert (tmp_path / "services/shop/logs").is_dir()


def test_a_taken_port_of_the_spans_is_told_by_the_key_that_fixes_it(tmp_path: Path) -> None:
    attached = settings_of(tmp_path, SERVICE)
    started = settings_of(tmp_path, SERVICE + PROCESS)

    told = [parts(one)["collector"].ports[0] for one in (attached, started)]

    assert told == [("service.otlp", 14318), ("OTLP_PORT", 14318)]


PROXIED = """
[database]
admin_dsn = "$ADMIN_DSN"
proxy = 15433
[upstream.pay-ments]
address = "https://pay.example.com"
proxy = 18091
[upstream.prometheus]
address = "http://127.0.0.1:8091"
proxy = 18092
"""


def test_a_proxy_stands_before_each_thing_that_the_file_says(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, SERVICE + PROXIED, PORT_OFFSET="100")

    found = parts(settings, SECRETS)

    proxies = {name: part for name, part in found.items() if name.startswith("proxy-")}
    ways = {name: list(part.command[-6:]) for name, part in proxies.items()}
    assert ways == {
        "proxy-database": words("15433", "127.0.0.1:5432", "10040"),
        "proxy-pay-ments": words("18091", "pay.example.com:443", "10041"),
        "proxy-prometheus": words("18092", "127.0.0.1:8091", "10042"),
    }
    # An upstream may be called as a part of the stack is.
    assert settings.url_for_others("prometheus") == "http://127.0.0.1:9190"


@pytest.mark.parametrize("port", ["abc", "70000"])
def test_an_address_of_the_database_that_is_none_is_refused_without_its_password(
    tmp_path: Path, port: str
) -> None:
    secrets = {**SECRETS, "ADMIN_DSN": f"postgresql://me:s3cret@127.0.0.1:{port}/shop"}
    for text in (SERVICE + PROBED, SERVICE + PROXIED):
        settings = settings_of(tmp_path, text, **secrets)

        with pytest.raises(SettingsError, match=r"ADMIN_DSN: its port is no number") as refused:
            parts(settings, secrets)
        assert "s3cret" not in str(refused.value)


def words(listen: str, target: str, control: str) -> list[str]:
    return ["--listen", listen, "--target", target, "--control", control]


def test_a_service_that_is_started_is_told_where_its_proxies_are(tmp_path: Path) -> None:
    process = PROCESS.replace("{metrics_port}", "{database_port} {pay_ments_port}")
    settings = settings_of(tmp_path, SERVICE + PROXIED + process, PORT_OFFSET="100")

    service = parts(settings, SECRETS)["service-1"]

    assert service.environment["METRICS"] == "15533 18191"
    assert {"proxy-database", "proxy-pay-ments"} <= set(service.after)


def test_a_proxy_before_a_database_that_nobody_knows_is_refused(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, f"{SERVICE}[database]\nproxy = 15433\n")

    with pytest.raises(SettingsError, match=r"database.proxy: nothing says where the database is"):
        parts(settings, SECRETS)
