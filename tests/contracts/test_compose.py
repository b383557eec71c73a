"""docker-compose.yml, as far as it can be judged without an engine; `make compose-check` starts it."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.compose import prepare
from service.config import Config
from service.process import LEAVE_SHARE
from stack import discovery, parts, postgres
from stack.cache import configuration, write_configuration
from stack.credentials import Credentials
from stack.part import Part
from stack.programs import Programs
from stack.settings import ROOT, read_settings

CONTAINERS = (ROOT / "docs" / "containers.md").read_text()
MEGABYTES_MAX = 2560
WITHOUT_A_SHELL = {"otel-collector": "13133", "tempo": "3200", "loki": "3100"}
"""Images that hold one program: nothing in them could ask whether it is ready."""
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
TASKS = {name for name, part in SERVICES.items() if part.get("restart") == "no"}
ALWAYS = {
    name: part for name, part in SERVICES.items() if name not in TASKS and not part.get("profiles")
}
HAPROXY = (ROOT / "deploy/compose/haproxy.cfg").read_text()
COLLECTOR = (ROOT / "otel-collector.yaml").read_text()


def default_of(value: str) -> str:
    """The value when the environment says nothing."""
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", value)


def environment_of(name: str) -> dict[str, str]:
    return dict(SERVICES[name].get("environment") or {})


def needs(part: dict[str, Any]) -> dict[str, str]:
    listed = part.get("depends_on") or {}
    if isinstance(listed, list):
        return dict.fromkeys(listed, "service_started")
    return {name: how["condition"] for name, how in listed.items()}


def volumes(name: str) -> Iterator[str]:
    return (volume.split(":")[0] for volume in SERVICES[name].get("volumes", []))


# ---- what each part may, and when it is ready -------------------------------------------------------


@pytest.mark.parametrize("name", SERVICES)
def test_no_part_has_more_rights_than_it_needs(name: str) -> None:
    part = SERVICES[name]

    assert part["read_only"] is True
    assert part["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in part["security_opt"]
    assert not part.get("privileged")
    assert not part.get("cap_add") or name == "postgres"
    assert part.get("network_mode", "none").split(":")[0] in {"none", "service"}
    assert not any("docker.sock" in volume for volume in volumes(name))
    for port in part.get("ports") or []:
        assert re.fullmatch(r"127\.0\.0\.1:\$\{\w+_PORT:-(\d+)\}:\1", port), "only loopback"


@pytest.mark.parametrize("name", SERVICES)
def test_images_have_exact_versions_and_no_registry(name: str) -> None:
    repository, _, tag = default_of(SERVICES[name]["image"]).partition(":")

    assert re.search(r"\d+\.\d+", tag)
    assert "." not in repository.split("/")[0], "the default registry, or a mirror's setting"


def test_memory_limits_add_up_to_what_the_page_says() -> None:
    total = sum(int(str(part["mem_limit"]).removesuffix("m")) for part in ALWAYS.values())

    assert total <= MEGABYTES_MAX
    assert f"{total:,} MB".replace(",", " ") in CONTAINERS, total


@pytest.mark.parametrize("name", sorted(SERVICES.keys() - TASKS - {"load-master", "load-worker"}))
def test_wait_means_ready(name: str) -> None:
    """Each part has a check, or the prober checks it."""
    if name in WITHOUT_A_SHELL:
        vouched = SERVICES["prober"]["healthcheck"]["test"]
        assert any(f"//{name}:{WITHOUT_A_SHELL[name]}/" in word for word in vouched)
    else:
        assert SERVICES[name]["healthcheck"]["test"][0] == "CMD"


def test_tasks_are_waited_for_until_they_succeed_and_parts_until_they_are_healthy() -> None:
    """`up --wait` takes a container that has ended for a failure unless somebody waits for its end."""
    waited = set()
    for name, part in SERVICES.items():
        for needed, how in needs(part).items():
            if needed in TASKS:
                assert how == "service_completed_successfully"
                waited.add(needed)
            elif name != "load-worker":
                assert how == "service_healthy", f"{name} needs {needed}"

    assert waited == TASKS


def test_what_is_mounted_from_the_project_is_there() -> None:
    """Docker would make an empty directory of it."""
    mounted = {one for name in SERVICES for one in volumes(name) if one.startswith("./")}

    assert mounted
    assert [one for one in mounted if not (ROOT / one).exists()] == []


# ---- secrets and settings ---------------------------------------------------------------------------


def test_the_service_is_given_only_what_it_reads_and_replicas_differ_by_name_alone() -> None:
    known = {name.upper() for name in Config.model_fields}
    elsewhere = {"FORWARDED_ALLOW_IPS", "SECRETS"}  # uvicorn's, deploy.compose.launch's

    for name in ("service-1", "service-2", "migrations", "seed"):
        assert environment_of(name).keys() <= known | elsewhere
    first, second = environment_of("service-1"), environment_of("service-2")
    assert {name for name in first if first[name] != second.get(name)} == {"SERVICE_INSTANCE"}


def test_no_secret_is_written_in_a_file() -> None:
    """What is secret in Config comes from the volume that one task fills, and from nowhere else."""
    secret = {
        name.upper()
        for name, field in Config.model_fields.items()
        if "SecretStr" in str(field.annotation)
    }
    made = {name for files in prepare.SECRETS.values() for name, _ in files}

    assert secret <= made
    for name in SERVICES:
        assert not environment_of(name).keys() & (secret | made), name


def test_secrets_are_made_once_and_accepted_by_the_service(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare.make_secrets(tmp_path)
    first = {
        file: file.read_text() for file in (tmp_path / "secrets").rglob("*") if file.is_file()
    }
    prepare.make_secrets(tmp_path)

    assert {file: file.read_text() for file in first} == first
    assert len({text.split("=")[-1] for text in first.values()}) == len(first)
    for file, text in first.items():
        monkeypatch.setenv(file.name, text)
    config = Config()
    assert config.token_keys.keys() == {"local-1"}
    assert config.cache_url.get_secret_value().endswith("@cache:6379/0")


def test_the_owner_of_the_schema_is_the_migrations_alone() -> None:
    readers = {name for name in SERVICES if "secrets-owner" in volumes(name)}

    assert readers == {"secrets", "roles", "migrations"}


# ---- the same configuration as natively -------------------------------------------------------------


def native_part(name: str) -> Part:
    settings = read_settings({})
    credentials = Credentials(**dict.fromkeys(Credentials.__annotations__, "x"))
    programs: Programs = dict.fromkeys(("prometheus", "alertmanager", "postgres_exporter"), "x")
    return next(part for part in parts.plan(settings, credentials, programs) if part.name == name)


@pytest.mark.parametrize("name", ["prometheus", "alertmanager"])
def test_the_flags_are_those_of_the_native_stack(name: str) -> None:
    own = ("--web.external-url", "--web.route-prefix", "--dispatch.start-delay")
    placed = ("--config.file", "--storage.path", "--storage.tsdb.path", "--web.listen-address")

    def flags(command: list[str]) -> set[str]:
        return {flag for flag in command if not flag.startswith((*own, *placed))}

    assert flags(SERVICES[name]["command"]) == flags(list(native_part(name).command)[1:])


def test_postgres_is_tuned_as_natively() -> None:
    here = dict(setting.split("=") for setting in SERVICES["postgres"]["command"][2::2])
    placed = {"listen_addresses", "unix_socket_directories", "log_line_prefix"}

    assert here == {
        name: str(value) for name, value in postgres._SETTINGS.items() if name not in placed
    }


def test_the_cache_is_bounded_and_evicts_as_natively(tmp_path: Path) -> None:
    write_configuration(tmp_path, 6379, "x")
    native = configuration(tmp_path).read_text()
    here = SERVICES["cache"]["command"][0]

    for setting in ("appendonly no", "maxmemory-policy allkeys-lru"):
        assert setting in native
        assert f"--{setting}" in here
    megabytes = int(re.findall(r"--maxmemory (\d+)mb", here)[0])
    assert megabytes < int(SERVICES["cache"]["mem_limit"].removesuffix("m"))


def test_the_files_of_the_logs_are_bounded_as_natively_and_named_after_their_part() -> None:
    command = SERVICES["log-rotation"]["command"]
    native = [str(word) for word in native_part("log-rotation").command]
    folder = command[command.index("--directory") + 1]
    native[native.index("--directory") + 1] = folder

    assert command[1:] == native[1:]
    for name, part in SERVICES.items():
        if "--log" in part.get("command", []):
            file = Path(part["command"][part["command"].index("--log") + 1])
            assert (str(file.parent), file.stem) == (folder, name)


def test_the_targets_are_parts_and_have_the_labels_of_the_native_ones() -> None:
    native = dict(
        discovery.targets(read_settings({}), has_collector=True, has_cache_exporter=True)
    )
    here = {
        file.stem: json.loads(file.read_text())[0]
        for file in (ROOT / "deploy/compose/targets").glob("*.json")
    }

    # Grafana, Tempo and Loki stand where the viewer is; the proxy is there in containers only.
    assert here.keys() ^ native.keys() == {"viewer", "proxy"}
    for job, group in here.items():
        assert {target.split(":")[0] for target in group["targets"]} <= ALWAYS.keys()
        assert group["labels"]["env"] == prepare.ENVIRONMENT
        if job in native:
            assert group["labels"] == native[job]["labels"] | {"env": prepare.ENVIRONMENT}


# ---- what one part has to know of another -----------------------------------------------------------


def test_prometheus_alertmanager_and_grafana_read_what_the_task_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runbooks = default_of(environment_of("configuration")["RUNBOOKS_URL"])
    monkeypatch.setenv("RUNBOOKS_URL", runbooks)
    prepare.write_configuration(tmp_path)
    written = tmp_path / "configuration"

    for name in ("prometheus", "alertmanager"):
        flag = next(f for f in SERVICES[name]["command"] if f.startswith("--config.file="))
        assert (written / flag.removeprefix("--config.file=/etc/firedrill/")).exists()
    routed = (written / "alertmanager/alertmanager.yml").read_text()
    assert set(re.findall(r"http://([\w-]+):\d+", routed)) == {"pager", "second-channel"}
    rules = "".join(file.read_text() for file in (written / "prometheus/rules").iterdir())
    linked = set(re.findall(r"runbook_url: (\S+)/runbooks/\w+", rules))
    for file in (written / "dashboards").iterdir():
        variables = json.loads(file.read_text())["templating"]["list"]
        linked |= {one["query"] for one in variables if one["name"] == "runbooks"}
    assert linked == {runbooks}
    (port,) = SERVICES["runbooks"]["ports"]
    assert default_of(port).startswith(runbooks.removeprefix("http://"))


def test_grafana_and_the_collector_are_given_what_their_files_ask_for() -> None:
    folder = ROOT / "dashboards" / "provisioning"
    files = "".join(file.read_text() for file in folder.rglob("*.yaml"))
    asked = set(re.findall(r"(?<!\$)\$\{([A-Z_]+)\}", files))

    assert asked
    assert asked <= environment_of("grafana").keys()
    given = environment_of("otel-collector")
    assert given.keys() - {"GOMEMLIMIT"} <= set(re.findall(r"\$\{env:(\w+):-", COLLECTOR))
    # What would be wrong by default: loopback, and the native viewer.
    assert {"COLLECTOR_HOST", "TRACES_ENDPOINT", "LOGS_ENDPOINT"} <= given.keys()


def test_the_collector_outlives_a_flood() -> None:
    """It goes above its limiter before that looks again: as far as was measured, and half more."""
    given = environment_of("otel-collector")
    limit = int(SERVICES["otel-collector"]["mem_limit"].removesuffix("m"))
    limiter = int(given["COLLECTOR_MEMORY_MIB"])
    measured = json.loads((ROOT / "docs/collector.json").read_text())
    (native,) = re.findall(r"COLLECTOR_MEMORY_MIB:-(\d+)", COLLECTOR)
    over = max(measured[load]["memory_peak_mib"] for load in ("flood", "steady")) - int(native)

    assert limiter < int(given["GOMEMLIMIT"].removesuffix("MiB")) < limit
    assert limiter + 1.5 * over < limit


def test_the_proxy_knows_the_replicas_and_waits_longer_than_any_deadline() -> None:
    replicas = {name for name in SERVICES if re.fullmatch(r"service-\d", name)}
    (timeout,) = re.findall(r"timeout server (\d+)s", HAPROXY)
    deadlines = [
        field.default
        for name, field in Config.model_fields.items()
        if name.endswith("_deadline_seconds")
    ]

    assert set(re.findall(r"^  server \S+ (\S+):8000$", HAPROXY, re.MULTILINE)) == replicas
    assert "http-request set-header X-Forwarded-For %[src]" in HAPROXY
    assert int(timeout) > max(deadlines)


def test_the_proxy_leaves_a_replica_that_stops_before_its_port_is_closed() -> None:
    """A request on a connection that is being closed gets no answer, and nobody may repeat it."""
    ((first, further, fall),) = re.findall(r"inter (\d+)ms fastinter (\d+)ms fall (\d+)", HAPROXY)

    left_after_seconds = (int(first) + (int(fall) - 1) * int(further)) / 1000
    assert left_after_seconds < LEAVE_SHARE * Config.model_fields["stop_seconds"].default


def test_loki_takes_a_batch_of_the_collector_and_all_three_keep_what_they_have_as_long() -> None:
    tempo = yaml.safe_load((ROOT / "deploy/compose/tempo.yaml").read_text())
    loki = yaml.safe_load((ROOT / "deploy/compose/loki.yaml").read_text())
    queue = yaml.safe_load(COLLECTOR)["exporters"]["otlp_http/logs"]["sending_queue"]
    (days,) = re.findall(r"retention.time=(\d+)d", " ".join(SERVICES["prometheus"]["command"]))

    assert loki["server"]["grpc_server_max_recv_msg_size"] >= 2 * queue["batch"]["max_size"]
    hours = f"{int(days) * 24}h"
    assert loki["limits_config"]["retention_period"] == hours
    assert tempo["backend_worker"]["compaction"]["block_retention"] == hours
    assert f"{days} days" in CONTAINERS
