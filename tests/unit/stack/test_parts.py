"""What a stack is made of: its plan, its targets, its tables."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from service.config import Config
from stack import demo, discovery, programs
from stack.credentials import (
    PROBER,
    PROBER_PASSWORD,
    Credentials,
    CredentialsError,
    load_credentials,
)
from stack.lifecycle import StackError, programs_of_running, settings_of_running
from stack.part import Part
from stack.parts import plan
from stack.processes import Running, identity_of, is_alive, start, stop
from stack.programs import (
    CACHE,
    CACHE_EXPORTER,
    COLLECTOR,
    SOURCES,
    ProgramsMissing,
    require_programs,
)
from stack.settings import PROXIED, ROOT, Settings, read_settings
from stack.state import State, read_state, write_state
from stack.tables import WIDTH, parts_table

SECRET = "s3cret"
CREDENTIALS = Credentials(*([SECRET] * 8))


@pytest.fixture
def parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Part]:
    monkeypatch.setattr("stack.postgres.home_of", lambda directory: directory)
    settings = read_settings({"FIREDRILL_LOCAL": str(tmp_path), "REPLICAS": "2"})
    return plan(settings, CREDENTIALS, dict.fromkeys(SOURCES, "program"))


@pytest.fixture
def proxied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Part]:
    """The same stack with a fault proxy before everything that can have one."""
    monkeypatch.setattr("stack.postgres.home_of", lambda directory: directory)
    settings = read_settings(
        {"FIREDRILL_LOCAL": str(tmp_path), "FAULT_PROXIES": ",".join(PROXIED)}
    )
    return plan(settings, CREDENTIALS, dict.fromkeys(SOURCES, "program"))


@pytest.mark.parametrize("which", ["parts", "proxied"])
def test_every_part_comes_after_parts_that_exist(
    which: str, request: pytest.FixtureRequest
) -> None:
    parts = request.getfixturevalue(which)
    names = [part.name for part in parts]

    assert len(names) == len(set(names))
    assert {name for part in parts for name in part.after} <= set(names)


def test_no_secret_is_on_a_command_line(parts: list[Part]) -> None:
    assert [part.name for part in parts if SECRET in " ".join(part.command)] == []


def test_replicas_count_their_ports_up(parts: list[Part]) -> None:
    ports = {part.name: [port for _, port in part.ports] for part in parts}

    assert (ports["service-1"], ports["service-2"]) == ([8000, 9464], [8001, 9465])


def test_the_table_fits_a_terminal(parts: list[Part], proxied: list[Part]) -> None:
    assert max(map(len, parts_table([*parts, *proxied]).splitlines())) <= WIDTH


def test_others_are_told_the_address_of_a_proxy_and_migrations_are_not(
    proxied: list[Part],
) -> None:
    told = {part.name: part.environment for part in proxied}

    assert told["service-1"]["DATABASE_PORT"] == "9942"
    assert told["service-1"]["PROVIDER_URL"] == "http://127.0.0.1:9944"
    assert told["prober"]["SERVICE_URLS"] == "http://127.0.0.1:9940"
    assert told["prober"]["PROMETHEUS_URL"] == "http://127.0.0.1:9946"
    assert told["migrations"]["DATABASE_PORT"] == "15432"
    assert told["postgres-exporter"]["DATA_SOURCE_URI"].startswith("127.0.0.1:15432/")


def test_the_prober_asks_every_replica_and_the_first_one_by_its_proxy() -> None:
    settings = read_settings(
        {"REPLICAS": "3", "FAULT_PROXIES": "service", "PORT_OFFSET": "7", "PROXY_PORT": "9910"}
    )

    assert settings.service_ports_for_others == [9910, 8008, 8009]


def test_the_prober_signs_in_as_the_account_that_is_seeded_for_it(parts: list[Part]) -> None:
    told = next(part.environment for part in parts if part.name == "prober")
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]["prober"]

    for environment in (told, compose["environment"]):
        assert environment["PROBE_USER"] == PROBER
        assert environment["PROBE_PASSWORD"] == PROBER_PASSWORD


def test_the_probers_token_is_due_within_a_minute_or_two() -> None:
    """The service refreshes a token before its end: it lives for that long, and for what is left."""
    skew_seconds = Config.model_fields["oauth_skew_seconds"].default

    assert 30 <= demo.PROBER_TOKEN_SECONDS - skew_seconds <= 120


def test_targets_carry_the_labels_of_the_contract() -> None:
    settings = read_settings({"REPLICAS": "2", "PORT_OFFSET": "7"})

    groups = dict(discovery.targets(settings, has_collector=True))

    assert groups["service"] == {
        "targets": ["127.0.0.1:9471", "127.0.0.1:9472"],
        "labels": {"job": "service", "service": "api", "env": "local"},
    }
    assert groups["canary"]["labels"]["__metrics_path__"] == "/canary/metrics"
    assert groups["collector"]["targets"] == ["127.0.0.1:8895", "127.0.0.1:8896"]
    assert {group["labels"]["service"] for group in groups.values()} == {
        "api",
        "provider",
        "monitoring",
    }


def names_and_ports(parts: list[Part]) -> dict[str, list[int]]:
    return {part.name: [port for _, port in part.ports] for part in parts}


def test_the_collector_takes_the_ports_on_which_the_viewer_receives_without_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stack.postgres.home_of", lambda directory: directory)
    settings = read_settings({"FIREDRILL_LOCAL": str(tmp_path)})
    found = dict.fromkeys(SOURCES, "program")

    without = names_and_ports(plan(settings, CREDENTIALS, found))
    with_it = names_and_ports(plan(settings, CREDENTIALS, found | {COLLECTOR: "program"}))

    assert without.keys() | {"collector"} == with_it.keys()
    assert (without["viewer"], with_it["viewer"]) == ([3030, 4318], [3030])
    assert with_it["collector"] == [4318, 4317, 8888, 8889, 13133]


def test_a_collector_built_meanwhile_waits_for_the_next_start(tmp_path: Path) -> None:
    me = running(os.getpid(), identity_of(os.getpid()))
    found = {COLLECTOR: "program", "prometheus": "program"}

    kept = {
        has_collector: programs_of_running(found, State({"viewer": me}, {}, 1, has_collector))
        for has_collector in (True, False)
    }

    assert (kept[True], kept[False]) == (found, {"prometheus": "program"})
    assert programs_of_running(found, State()) == found


def test_credentials_are_made_once_and_only_their_owner_can_read_them(tmp_path: Path) -> None:
    made = load_credentials(tmp_path)

    assert load_credentials(tmp_path) == made
    assert (tmp_path / "credentials.json").stat().st_mode & 0o777 == 0o600
    assert len({*made.roles.values(), made.token_key, made.grant_key}) == 6
    assert made.token_key not in repr(made)


def test_damaged_credentials_are_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "credentials.json").write_text("{}")

    with pytest.raises(CredentialsError, match="make clean"):
        load_credentials(tmp_path)


def test_lost_credentials_are_not_replaced_while_there_is_data(tmp_path: Path) -> None:
    with pytest.raises(CredentialsError, match="the database's passwords"):
        load_credentials(tmp_path, data_exists=True)

    assert list(tmp_path.iterdir()) == []


def running(pid: int, identity: str | None) -> Running:
    return Running("viewer", pid, identity or "", 0.0, signal.SIGTERM, "")


def test_a_running_stack_keeps_its_ports_without_being_told_again(tmp_path: Path) -> None:
    settings = read_settings({"FIREDRILL_LOCAL": str(tmp_path), "PORT_OFFSET": "50"})
    me = running(os.getpid(), identity_of(os.getpid()))
    write_state(settings, State({"viewer": me}, dict(settings.ports), 2))
    plain = read_settings({"FIREDRILL_LOCAL": str(tmp_path)})

    adopted = settings_of_running(plain, read_state(plain))

    assert (adopted.ports, adopted.replicas) == (settings.ports, 2)


def test_a_running_stack_is_not_moved(tmp_path: Path) -> None:
    settings = read_settings({"FIREDRILL_LOCAL": str(tmp_path)})
    me = running(os.getpid(), identity_of(os.getpid()))
    state = State({"viewer": me}, dict(settings.ports), 1)

    with pytest.raises(StackError, match=r"PAGER_PORT: the running stack has 9095, not 21000"):
        settings_of_running(read_settings({"PAGER_PORT": "21000"}), state)


def test_the_proxies_of_a_running_stack_stay_and_no_other_is_put_into_it(tmp_path: Path) -> None:
    settings = read_settings({"FIREDRILL_LOCAL": str(tmp_path), "FAULT_PROXIES": "viewer"})
    me = running(os.getpid(), identity_of(os.getpid()))
    write_state(settings, State({"viewer": me}, dict(settings.ports), 1, False, settings.proxies))
    state = read_state(settings)

    assert settings_of_running(read_settings({}), state).proxies == ("viewer",)
    with pytest.raises(StackError, match=r"FAULT_PROXIES: the running stack has viewer: run"):
        settings_of_running(read_settings({"FAULT_PROXIES": "postgres"}), state)


def test_ports_of_a_stack_that_died_are_forgotten(tmp_path: Path) -> None:
    state = State({"viewer": running(os.getpid(), "somebody else")}, {"pager": 21000}, 2)
    settings: Settings = read_settings({})

    assert settings_of_running(settings, state) is settings


def test_a_process_that_ignores_the_signal_is_killed(tmp_path: Path) -> None:
    stubborn = "import signal, time; signal.signal(15, signal.SIG_IGN); print(1); time.sleep(600)"
    log = tmp_path / "log"
    started, process = start(
        "stubborn",
        [sys.executable, "-uc", stubborn],
        log=log,
        environment=os.environ,
        directory=tmp_path,
        user=None,
        stop_signal=signal.SIGTERM,
    )
    while not log.read_text():
        assert process.poll() is None

    stop([started], patience_seconds=0.1)

    assert not is_alive(started)
    assert process.wait() == -signal.SIGKILL


def test_a_process_that_nobody_reaps_is_gone() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)

        assert identity_of(process.pid) is None


def test_prometheus_3_is_taken_when_both_of_its_programs_are_built(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(programs, "PROMETHEUS_3", tmp_path)
    (tmp_path / "promtool").touch()
    before = programs.find_programs()
    (tmp_path / "prometheus").touch()

    found = programs.find_programs()

    assert str(tmp_path / "promtool") not in before.values(), "it must match the server's"
    assert found["prometheus"] == str(tmp_path / "prometheus")
    assert found["promtool"] == str(tmp_path / "promtool")


def test_a_missing_program_names_the_command_for_the_platform(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    apt = tmp_path / "apt-get"
    apt.write_text("")
    apt.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(programs, "TOOLS", tmp_path)
    monkeypatch.setattr(programs, "PROMETHEUS_3", tmp_path)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)

    with pytest.raises(ProgramsMissing) as missing:
        require_programs()

    assert "sudo apt-get install --no-install-recommends prometheus " in str(missing.value)
    assert len(str(missing.value).splitlines()) == 1


@pytest.mark.parametrize("exit_code", [0, 100])
def test_packages_are_installed_without_starting_their_services(
    exit_code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy, asked = tmp_path / "policy-rc.d", tmp_path / "asked"
    apt = tmp_path / "apt-get"
    apt.write_text(
        f'#!/bin/sh\necho "$@" >> {asked}\n{policy} && exit 1\n'
        f"[ $? = 101 ] || exit 2\necho E: no network >&2\nexit {exit_code}\n"
    )
    apt.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    monkeypatch.setattr(programs, "_NO_START", policy)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    found = iter([{}, {}, {name: name for name in SOURCES}])
    monkeypatch.setattr(programs, "find_programs", lambda _sources: next(found))
    monkeypatch.setattr(shutil, "which", lambda name: str(apt) if name == "apt-get" else None)

    if exit_code:
        with pytest.raises(ProgramsMissing, match="no network"):
            require_programs()
    else:
        assert set(require_programs()) == set(SOURCES)
        assert "prometheus prometheus-alertmanager" in asked.read_text()

    assert not policy.exists()


@pytest.mark.parametrize(("missing", "goes_on"), [(CACHE, True), ("prometheus", False)])
def test_a_stack_without_a_cache_says_so_and_runs_on(
    missing: str,
    goes_on: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    found = {name: name for name in SOURCES if name not in {missing, CACHE_EXPORTER}}
    monkeypatch.setattr(programs, "find_programs", lambda _sources: found)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)

    if goes_on:
        assert require_programs() == found
        said = capsys.readouterr().out
        assert "each replica limits sign-ins for itself" in said
        assert "redis-server" in said or "valkey" in said
    else:
        with pytest.raises(ProgramsMissing):
            require_programs()


def test_replicas_are_told_of_the_cache_where_there_is_one(
    parts: list[Part], proxied: list[Part], tmp_path: Path
) -> None:
    settings = read_settings({"FIREDRILL_LOCAL": str(tmp_path)})
    found = dict.fromkeys(SOURCES.keys() - {CACHE, CACHE_EXPORTER}, "program")
    without = {part.name: part for part in plan(settings, CREDENTIALS, found)}
    told, by_proxy = (
        next(part.environment["CACHE_URL"] for part in some if part.name == "service-1")
        for some in (parts, proxied)
    )

    assert told.endswith("@127.0.0.1:15379/0")
    assert by_proxy.endswith("@127.0.0.1:9950/0")
    assert "CACHE_URL" not in without["service-1"].environment
    assert without.keys().isdisjoint({"cache", "cache-exporter"})


def test_a_cache_installed_meanwhile_waits_for_the_next_start() -> None:
    me = running(os.getpid(), identity_of(os.getpid()))
    found = {CACHE: "program", CACHE_EXPORTER: "program", "prometheus": "program"}
    shape: tuple[dict[str, int], int] = ({}, 1)

    assert programs_of_running(found, State({"viewer": me}, *shape)).keys() == {"prometheus"}
    assert programs_of_running(found, State({"viewer": me, "cache": me}, *shape)) == found
