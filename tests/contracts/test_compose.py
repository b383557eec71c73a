"""docker-compose.yml and the image, as far as they can be judged without an engine.

`make compose-check` starts them where there is one.
"""

import ast
import json
import re
import sys
from collections.abc import Collection, Iterator
from importlib.metadata import packages_distributions
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.compose import prepare
from deploy.image import healthcheck, lock
from service.__main__ import LEAVE_SHARE
from service.config import Config
from stack import discovery, parts, postgres
from stack.credentials import Credentials
from stack.part import Part
from stack.programs import Programs
from stack.settings import ROOT, read_settings

MEGABYTES_MAX = 2500
VERSIONS = {
    "postgres": "18.4",
    "prometheus": "3.13.1",
    "alertmanager": "0.34.0",
    "otel-collector": "0.159.0",
    "tempo": "3.0.3",
    "loki": "3.7.6",
    "grafana": "13.1.0",
}
WITHOUT_A_SHELL = {"otel-collector": "13133", "tempo": "3200", "loki": "3100"}
"""Images that hold one program: nothing in them could ask whether it is ready."""
COPIED = {"alerting", "deploy", "stack", "service"}


def compose() -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    return document


def default_of(value: str) -> str:
    """The value when the environment says nothing."""
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", value)


SERVICES: dict[str, dict[str, Any]] = compose()["services"]
TASKS = {name for name, part in SERVICES.items() if part.get("restart") == "no"}
ALWAYS = {
    name: part for name, part in SERVICES.items() if name not in TASKS and not part.get("profiles")
}


def environment_of(name: str) -> dict[str, str]:
    return dict(SERVICES[name].get("environment") or {})


@pytest.mark.parametrize("name", SERVICES)
def test_only_loopback_is_published(name: str) -> None:
    for port in SERVICES[name].get("ports") or []:
        assert re.fullmatch(r"127\.0\.0\.1:\$\{\w+_PORT:-(\d+)\}:\1", port), port


@pytest.mark.parametrize("name", SERVICES)
def test_no_part_has_more_rights_than_it_needs(name: str) -> None:
    part = SERVICES[name]

    assert part["read_only"] is True
    assert part["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in part["security_opt"]
    assert not part.get("privileged")
    assert part.get("network_mode", "none").split(":")[0] in {"none", "service"}
    assert not any("docker.sock" in str(volume) for volume in part.get("volumes", []))
    assert set(part.get("cap_add", [])) == (
        {"CHOWN", "DAC_OVERRIDE", "FOWNER", "SETGID", "SETUID"} if name == "postgres" else set()
    )


@pytest.mark.parametrize("name", SERVICES)
def test_images_have_exact_versions_that_no_machine_is_named_in(name: str) -> None:
    image = default_of(SERVICES[name]["image"])

    repository, _, tag = image.partition(":")
    assert re.search(r"\d+\.\d+", tag), image
    assert "." not in repository.split("/")[0], "the default registry, or a mirror's setting"
    if name in VERSIONS:
        assert VERSIONS[name] in tag


def test_memory_limits_add_up_to_what_the_readme_says() -> None:
    limits = [str(part["mem_limit"]) for part in ALWAYS.values()]
    assert all(re.fullmatch(r"\d+m", limit) for limit in limits)
    total = sum(int(limit.removesuffix("m")) for limit in limits)

    assert total <= MEGABYTES_MAX
    assert f"{total:,} MB".replace(",", " ") in (ROOT / "README.md").read_text(), total


@pytest.mark.parametrize("name", sorted(SERVICES.keys() - TASKS - {"load-master", "load-worker"}))
def test_wait_means_ready(name: str) -> None:
    """Each part has a check, or the prober vouches for it."""
    if name in WITHOUT_A_SHELL:
        vouched = SERVICES["prober"]["healthcheck"]["test"]
        assert any(f"//{name}:{WITHOUT_A_SHELL[name]}/" in word for word in vouched)
    else:
        assert SERVICES[name]["healthcheck"]["test"][0] == "CMD"


def test_each_task_is_waited_for_and_must_succeed() -> None:
    """`up --wait` takes a container that has ended for a failure unless somebody waits for its end."""
    waited = {
        needed
        for part in SERVICES.values()
        for needed, how in _needs(part).items()
        if how == "service_completed_successfully"
    }

    assert waited == TASKS


def test_what_is_depended_on_exists_and_is_waited_for_until_it_is_healthy() -> None:
    for name, part in SERVICES.items():
        for needed, how in _needs(part).items():
            assert needed in SERVICES, name
            if needed not in TASKS and name != "load-worker":
                assert how == "service_healthy", f"{name} needs {needed}"


def _needs(part: dict[str, Any]) -> dict[str, str]:
    needs = part.get("depends_on") or {}
    if isinstance(needs, list):
        return dict.fromkeys(needs, "service_started")
    return {name: how["condition"] for name, how in needs.items()}


def test_the_service_is_told_only_what_it_reads() -> None:
    known = {name.upper() for name in Config.model_fields}
    elsewhere = {"FORWARDED_ALLOW_IPS", "SECRETS"}  # uvicorn's, deploy.compose.launch's

    for name in ("service-1", "service-2", "migrations", "seed"):
        assert environment_of(name).keys() <= known | elsewhere


def test_replicas_differ_in_nothing_but_their_name() -> None:
    first, second = environment_of("service-1"), environment_of("service-2")

    assert first.pop("SERVICE_INSTANCE") != second.pop("SERVICE_INSTANCE")
    assert first == second


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
    assert config.migration_password.get_secret_value() == (
        (tmp_path / "secrets/owner/MIGRATION_PASSWORD").read_text()
    )


def test_each_reader_gets_its_own_secrets_alone() -> None:
    readers = {
        name: {
            volume.split(":")[0].removeprefix("secrets-")
            for volume in part.get("volumes", [])
            if volume.startswith("secrets-")
        }
        for name, part in SERVICES.items()
        if name not in {"secrets", "roles"}
    }

    assert readers["grafana"] == {"grafana"}
    assert readers["postgres"] == {"postgres"}
    assert readers["postgres-exporter"] == {"monitor"}
    assert readers["service-1"] == readers["service-2"] == {"service", "provider"}
    assert {name for name, has in readers.items() if "owner" in has} == {"migrations"}


def test_volumes_are_declared_and_used() -> None:
    used = {
        volume.split(":")[0]
        for part in SERVICES.values()
        for volume in part.get("volumes", [])
        if not volume.startswith(".")
    }

    assert used == compose()["volumes"].keys()


def test_what_is_mounted_from_the_project_is_there() -> None:
    for part in SERVICES.values():
        for volume in part.get("volumes", []):
            if volume.startswith("./"):
                assert (ROOT / volume.split(":")[0]).exists(), volume


# ---- the same configuration as natively -------------------------------------------------------------


def native_part(name: str) -> Part:
    settings = read_settings({})
    credentials = Credentials(**dict.fromkeys(Credentials.__annotations__, "x"))
    programs: Programs = dict.fromkeys(("prometheus", "alertmanager", "postgres_exporter"), "x")
    return next(part for part in parts.plan(settings, credentials, programs) if part.name == name)


@pytest.mark.parametrize(
    ("name", "own"),
    [
        ("prometheus", {"--web.external-url", "--web.route-prefix"}),
        ("alertmanager", {"--web.external-url", "--web.route-prefix", "--dispatch.start-delay"}),
    ],
)
def test_the_flags_are_those_of_the_native_stack(name: str, own: set[str]) -> None:
    def flags(command: list[str]) -> set[str]:
        placed = ("--config.file", "--storage", "--web.listen-address")
        return {
            flag
            for flag in command
            if not flag.startswith(placed) or flag.startswith("--storage.tsdb.retention")
        }

    here = {flag for flag in flags(SERVICES[name]["command"]) if flag.split("=")[0] not in own}
    assert here == flags(list(native_part(name).command)[1:])


def test_postgres_is_tuned_as_natively() -> None:
    command = SERVICES["postgres"]["command"]
    here = dict(setting.split("=") for setting in command[2::2])
    placed = {"listen_addresses", "unix_socket_directories", "log_line_prefix"}

    assert set(command[1::2]) == {"-c"}
    assert here == {
        name: str(value) for name, value in postgres._SETTINGS.items() if name not in placed
    }


def test_the_files_of_the_logs_are_bounded_as_natively() -> None:
    command = SERVICES["log-rotation"]["command"]
    native = [str(word) for word in native_part("log-rotation").command]
    place = command.index("--directory") + 1

    assert command[1:place] == native[1:place]
    assert command[place + 1 :] == native[place + 1 :]
    assert f"logs:{command[place]}" in SERVICES["log-rotation"]["volumes"]
    for name, part in SERVICES.items():
        if "--log" in part.get("command", []):
            file = Path(part["command"][part["command"].index("--log") + 1])
            assert (str(file.parent), file.stem) == (command[place], name)


def targets() -> dict[str, dict[str, Any]]:
    return {
        file.stem: json.loads(file.read_text())[0]
        for file in (ROOT / "deploy/compose/targets").glob("*.json")
    }


def test_the_targets_have_the_labels_of_the_native_ones() -> None:
    def labels(group: dict[str, Any]) -> dict[str, str]:
        return {name: value for name, value in group["labels"].items() if name != "env"}

    native = dict(discovery.targets(read_settings({}), has_collector=True))
    here = targets()

    # Grafana, Tempo and Loki stand where the viewer is; the proxy is there in containers only.
    assert native.keys() - {"viewer"} <= here.keys()
    assert here.keys() - native.keys() == {"proxy"}
    for job in native.keys() & here.keys():
        assert labels(here[job]) == labels(native[job])
        assert here[job]["labels"]["env"] == prepare.ENVIRONMENT


def test_every_target_is_a_part() -> None:
    for job, group in targets().items():
        for target in group["targets"]:
            assert target.split(":")[0] in ALWAYS, job


def test_prometheus_and_alertmanager_read_what_the_task_writes(tmp_path: Path) -> None:
    prepare.write_configuration(tmp_path)

    written = tmp_path / "configuration"
    for name in ("prometheus", "alertmanager"):
        flag = next(f for f in SERVICES[name]["command"] if f.startswith("--config.file="))
        assert (written / flag.removeprefix("--config.file=/etc/firedrill/")).exists()
    routed = (written / "alertmanager/alertmanager.yml").read_text()
    assert set(re.findall(r"http://([\w-]+):\d+", routed)) == {"pager", "second-channel"}
    assert (written / "prometheus/targets/service.json").exists()
    assert "env: compose" in (written / "prometheus/rules/target_absent.yaml").read_text()


def test_grafana_is_told_what_its_provisioning_asks() -> None:
    folder = ROOT / "dashboards" / "provisioning"
    files = "".join(file.read_text() for file in folder.rglob("*.yaml"))
    asked = set(re.findall(r"(?<!\$)\$\{([A-Z_]+)\}", files))

    assert asked
    assert asked <= environment_of("grafana").keys()
    assert re.findall(r"path: (\S+)", files) == ["/etc/firedrill/dashboards"]
    assert "configuration:/etc/firedrill:ro" in SERVICES["grafana"]["volumes"]


def test_links_to_runbooks_lead_to_the_part_that_serves_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = default_of(environment_of("configuration")["RUNBOOKS_URL"])
    monkeypatch.setenv("RUNBOOKS_URL", given)
    prepare.write_configuration(tmp_path)
    written = tmp_path / "configuration"

    rules = "".join(file.read_text() for file in (written / "prometheus/rules").iterdir())
    linked = set(re.findall(r"runbook_url: (\S+)/runbooks/\w+", rules))
    for file in (ROOT / "dashboards").glob("*.json"):
        variables = json.loads((written / "dashboards" / file.name).read_text())["templating"]
        linked |= {one["query"] for one in variables["list"] if one["name"] == "runbooks"}
    assert linked == {given}
    (port,) = SERVICES["runbooks"]["ports"]
    inside = port.rpartition(":")[2]
    assert default_of(port) == f"{given.removeprefix('http://')}:{inside}"
    assert SERVICES["runbooks"]["command"][-2:] == ["--port", inside]


def test_the_collector_is_told_what_its_file_asks() -> None:
    asked = re.findall(r"\$\{env:(\w+):-", _collector_file())
    told = environment_of("otel-collector")

    assert told.keys() - {"GOMEMLIMIT"} <= set(asked)
    # What would be wrong by default: loopback, and the native viewer.
    assert {"COLLECTOR_HOST", "TRACES_ENDPOINT", "LOGS_ENDPOINT"} <= told.keys()
    limit = int(SERVICES["otel-collector"]["mem_limit"].removesuffix("m"))
    told_mib = int(told["COLLECTOR_MEMORY_MIB"])
    assert told_mib < int(told["GOMEMLIMIT"].removesuffix("MiB")) < limit
    # A flood takes it above its limiter before that looks again: as far as was measured, and half more.
    measured = json.loads((ROOT / "docs/collector.json").read_text())
    native_mib = int(re.search(r"COLLECTOR_MEMORY_MIB:-(\d+)", _collector_file())[1])  # type: ignore[index]
    over = max(measured[load]["memory_peak_mib"] for load in ("flood", "steady")) - native_mib
    assert told_mib + 1.5 * over < limit


def _collector_file() -> str:
    return (ROOT / "otel-collector.yaml").read_text()


def test_the_proxy_knows_both_replicas_and_hides_what_callers_claim() -> None:
    text = (ROOT / "deploy/compose/haproxy.cfg").read_text()

    assert re.findall(r"^  server (\S+) (\S+)$", text, re.MULTILINE) == [
        ("service-1", "service-1:8000"),
        ("service-2", "service-2:8000"),
    ]
    assert "http-request set-header X-Forwarded-For %[src]" in text
    longest = max(
        field.default
        for name, field in Config.model_fields.items()
        if name.endswith("_deadline_seconds")
    )
    assert int(re.search(r"timeout server (\d+)s", text)[1]) > longest  # type: ignore[index]


def test_the_proxy_leaves_a_replica_that_stops_before_its_port_is_closed() -> None:
    """A request on a connection that is being closed gets no answer, and nobody may repeat it."""
    text = (ROOT / "deploy/compose/haproxy.cfg").read_text()
    checks = re.search(r"inter (\d+)ms fastinter (\d+)ms fall (\d+)", text)
    assert checks is not None
    first, further, fall = map(int, checks.groups())

    left_after_seconds = (first + (fall - 1) * further) / 1000
    assert left_after_seconds < LEAVE_SHARE * Config.model_fields["stop_seconds"].default


def test_tempo_and_loki_say_what_their_versions_understand() -> None:
    tempo = yaml.safe_load((ROOT / "deploy/compose/tempo.yaml").read_text())
    loki = yaml.safe_load((ROOT / "deploy/compose/loki.yaml").read_text())

    # 3.0 refuses to start on these; and the collector already makes metrics of the spans.
    assert not tempo.keys() & {"ingester", "ingester_client", "compactor", "metrics_generator"}
    # The default is loopback, where the collector is not.
    for protocol in tempo["distributor"]["receivers"]["otlp"]["protocols"].values():
        assert protocol["endpoint"].startswith("0.0.0.0:")
    schema = loki["schema_config"]["configs"][-1]
    assert (schema["store"], schema["schema"]) == ("tsdb", "v13")
    labels = loki["limits_config"]["otlp_config"]["resource_attributes"]
    assert labels["ignore_defaults"] is True
    assert "service.instance.id" not in labels["attributes_config"][0]["attributes"]
    assert (
        loki["analytics"]["reporting_enabled"]
        is tempo["usage_report"]["reporting_enabled"]
        is False
    )


def test_loki_takes_a_batch_of_the_collector_and_all_three_keep_what_they_have_as_long() -> None:
    tempo = yaml.safe_load((ROOT / "deploy/compose/tempo.yaml").read_text())
    loki = yaml.safe_load((ROOT / "deploy/compose/loki.yaml").read_text())
    queue = yaml.safe_load(_collector_file())["exporters"]["otlp_http/logs"]["sending_queue"]

    for key in ("grpc_server_max_recv_msg_size", "grpc_server_max_send_msg_size"):
        assert loki["server"][key] >= 2 * queue["batch"]["max_size"]
    assert queue["batch"]["sizer"] == "bytes"
    (days,) = re.findall(r"retention.time=(\d+)d", " ".join(SERVICES["prometheus"]["command"]))
    hours = f"{int(days) * 24}h"
    assert loki["limits_config"]["retention_period"] == hours
    assert tempo["backend_worker"]["compaction"]["block_retention"] == hours
    assert tempo["backend_scheduler"]["provider"]["compaction"]["compaction"] == {
        "block_retention": hours
    }
    assert f"{days} days" in (ROOT / "README.md").read_text()


def test_what_holds_data_in_memory_has_time_to_write_it() -> None:
    for name in ("tempo", "loki"):
        assert int(SERVICES[name]["stop_grace_period"].removesuffix("s")) >= 30


def test_whoever_looks_can_follow_a_link_to_explore() -> None:
    """Grafana opens it to editors; the dashboards themselves stay as they are provisioned."""
    told = environment_of("grafana")
    provider = yaml.safe_load(
        (ROOT / "dashboards/provisioning/dashboards/firedrill.yaml").read_text()
    )

    assert told["GF_AUTH_ANONYMOUS_ORG_ROLE"] == "Editor"
    assert all(one["allowUiUpdates"] is False for one in provider["providers"])
    assert "secrets-grafana" in (ROOT / "README.md").read_text()


TEMPO_KEYS = """
    target stream_over_http_enabled
    server.http_listen_address server.http_listen_port server.grpc_listen_port server.log_format
    server.log_level
    distributor.receivers.otlp.protocols.grpc.endpoint distributor.receivers.otlp.protocols.http.endpoint
    distributor.max_attribute_bytes
    querier.max_concurrent_queries query_frontend.max_retries query_frontend.query_end_cutoff
    live_store.max_trace_idle live_store.flush_check_period
    backend_worker.compaction.block_retention
    query_frontend.search.max_duration query_frontend.search.query_backend_after
    backend_scheduler.provider.compaction.compaction.block_retention
    storage.trace.backend storage.trace.blocklist_poll
    storage.trace.wal.path storage.trace.local.path
    overrides.defaults.ingestion.rate_limit_bytes overrides.defaults.ingestion.burst_size_bytes
    overrides.defaults.global.max_bytes_per_trace
    usage_report.reporting_enabled
"""
LOKI_KEYS = """
    target auth_enabled
    server.http_listen_address server.http_listen_port server.grpc_listen_port server.log_format
    server.log_level server.grpc_server_max_recv_msg_size server.grpc_server_max_send_msg_size
    common.path_prefix common.replication_factor common.instance_addr common.ring.kvstore.store
    common.storage.filesystem.chunks_directory common.storage.filesystem.rules_directory
    ingester.lifecycler.min_ready_duration ingester.chunk_idle_period ingester.max_chunk_age
    ingester.wal.enabled ingester.wal.dir
    schema_config.configs.from schema_config.configs.store schema_config.configs.object_store
    schema_config.configs.schema schema_config.configs.index.prefix schema_config.configs.index.period
    limits_config.allow_structured_metadata limits_config.retention_period
    limits_config.ingestion_rate_mb limits_config.ingestion_burst_size_mb
    limits_config.per_stream_rate_limit limits_config.per_stream_rate_limit_burst
    limits_config.max_query_length limits_config.max_line_size limits_config.volume_enabled
    limits_config.otlp_config.resource_attributes.ignore_defaults
    limits_config.otlp_config.resource_attributes.attributes_config.action
    limits_config.otlp_config.resource_attributes.attributes_config.attributes
    compactor.working_directory compactor.retention_enabled compactor.delete_request_store
    compactor.retention_delete_delay compactor.compaction_interval
    query_range.parallelise_shardable_queries
    analytics.reporting_enabled
"""
"""Looked up in the references of Tempo 3.0 and Loki 3.7. Both refuse to start on a key that they do not
know, and neither can be run here: look a key up before it is added.
"""


@pytest.mark.parametrize(("name", "known"), [("tempo", TEMPO_KEYS), ("loki", LOKI_KEYS)])
def test_tempo_and_loki_are_told_nothing_but_known_keys(name: str, known: str) -> None:
    document = yaml.safe_load((ROOT / f"deploy/compose/{name}.yaml").read_text())

    assert set(_leaves(document)) <= set(known.split())


def _leaves(node: object, path: str = "") -> Iterator[str]:
    """Dotted paths of the values; a list adds nothing to the path of its items."""
    if isinstance(node, dict) and node:
        for key, value in node.items():
            yield from _leaves(value, f"{path}.{key}" if path else key)
    elif isinstance(node, list):
        for value in node:
            yield from _leaves(value, path)
    else:
        yield path


# ---- the image --------------------------------------------------------------------------------------

DOCKERFILE = (ROOT / "Dockerfile").read_text()


def test_the_dockerfile_needs_no_buildkit() -> None:
    assert not re.search(
        r"^# *syntax=|--mount=|--chmod|--link|<<|\$TARGET", DOCKERFILE, re.MULTILINE
    )


def stages() -> dict[str, list[str]]:
    """Stage → its instructions, each on one line, without comments."""
    text = re.sub(r"^#.*\n|^ # .*\n", "", DOCKERFILE, flags=re.MULTILINE)
    found: dict[str, list[str]] = {}
    for line in re.sub(r"\\\n\s*", "", text).splitlines():
        if begins := re.fullmatch(r"FROM \S+ AS (\S+)", line):
            found[begins[1]] = []
        elif found and line:
            found[list(found)[-1]].append(line)
    return found


STAGES = stages()
IMAGES = ("service", "load")


def only(stage: str, instruction: str) -> str:
    """What follows the one such instruction of a stage."""
    (line,) = [one for one in STAGES[stage] if one.startswith(f"{instruction} ")]
    return line.removeprefix(f"{instruction} ")


def test_nothing_is_installed_without_its_hash() -> None:
    """No other index, no other version, no build of a source distribution."""
    installs = re.findall(r"\S*pip install [^&]+", " && ".join(chain(*STAGES.values())))

    assert len(installs) == len(lock.IMAGES)
    for install in installs:
        words = install.split()[2:]
        file = words[words.index("-r") + 1]
        assert {*words} == {
            *("--require-hashes", "--no-deps", "--only-binary", ":all:", "-r", file)
        }
        assert Path(file).name in lock.IMAGES
    assert not re.search(r"apt-get|apk |curl |wget |^ADD ", DOCKERFILE, re.MULTILINE)


@pytest.mark.parametrize("stage", IMAGES)
def test_the_images_run_as_nobody_in_particular(stage: str) -> None:
    """By number: a cluster cannot tell from a name that it is not root."""
    user, group = map(int, only(stage, "USER").split(":"))
    at = STAGES[stage].index(f"USER {user}:{group}")

    assert min(user, group) >= 10000
    assert not [line for line in STAGES[stage][at:] if line.startswith(("RUN", "COPY"))]
    assert SERVICES["otel-collector"]["user"] == f"{user}:{group}", "it reads what these write"


def test_the_image_of_the_service_says_when_it_lives_and_how_it_stops() -> None:
    """Liveness, not readiness: what a drift or a wedged pool makes unready, a restart does not mend."""
    options, _, command = only("service", "HEALTHCHECK").partition("CMD ")
    program, url = json.loads(command)[:-1], json.loads(command)[-1]
    internal_port = Config.model_fields["service_internal_port"].default
    grace = int(SERVICES["service-1"]["stop_grace_period"].removesuffix("s"))

    assert program == ["python", "-m", "deploy.image.healthcheck"]
    assert url == f"http://127.0.0.1:{internal_port}/livez"
    assert float(re.search(r"--timeout=(\d+)s", options)[1]) > healthcheck.ANSWER_SECONDS  # type: ignore[index]
    assert only("service", "STOPSIGNAL") == "SIGTERM"
    assert json.loads(only("service", "CMD")) == ["python", "-m", "service"]
    assert grace > Config.model_fields["stop_seconds"].default


def test_what_is_copied_into_the_image_is_in_the_context() -> None:
    kept = {
        line.removeprefix("!")
        for line in (ROOT / ".dockerignore").read_text().splitlines()
        if line.startswith("!")
    }
    sources = {
        source.split("/")[0]
        for source in re.findall(r"^COPY ([\w/.]+) ", DOCKERFILE, re.MULTILINE)
    }

    assert sources == kept
    assert sources >= COPIED


@pytest.mark.parametrize("name", lock.IMAGES)
def test_the_locks_of_the_images_are_up_to_date(name: str) -> None:
    made = lock.render(lock.LOCK.read_text(), lock.IMAGES[name])

    assert (lock.FOLDER / name).read_text() == made, "run `python -m deploy.image.lock`"


@pytest.mark.parametrize("name", lock.IMAGES)
def test_what_a_distribution_of_an_image_needs_is_in_the_image(name: str) -> None:
    """No import of ours tells: pip is told to take nothing but what the lock names."""
    everything = lock.read_lock(lock.LOCK.read_text())
    inside = lock.read_lock((lock.FOLDER / name).read_text()).keys()

    assert not {one for one, entry in everything.items() if entry.needed_by & inside} - inside


def test_an_entry_without_a_hash_is_refused() -> None:
    with pytest.raises(lock.LockError, match="left-pad"):
        lock.read_lock("left-pad==1.0\n    # via firedrill (pyproject.toml)\n")


def test_everything_that_is_imported_is_in_the_image() -> None:
    """An import of a package that only the development environment has fails here, not in a container."""
    folders = [
        *("service", "stack/pager", "stack/prober", "stack/provider", "stack/proxy"),
        *("deploy/compose", "deploy/image"),
    ]
    files = {file for folder in folders for file in (ROOT / folder).rglob("*.py")}
    files |= {
        ROOT / "alerting/build.py",
        ROOT / "alerting/routing.py",
        ROOT / "stack/logrotation.py",
    }

    assert not _missing(files, "service.lock")


def test_everything_that_the_load_imports_is_in_its_image() -> None:
    """All that Locust reaches from its file, and from the process that breaks things for it."""
    (locustfile,) = {
        part["command"][part["command"].index("--locustfile") + 1]
        for name, part in SERVICES.items()
        if name.startswith("load-")
    }
    scenarios = (ROOT / "loadtests/scenarios").glob("*.py")  # found by the catalogue, not imported
    reached = _reached({ROOT / locustfile, ROOT / "loadtests/faults/__main__.py", *scenarios})
    copied = re.findall(r"^COPY (\w+) \1$", "\n".join(STAGES["load"]), re.MULTILINE)

    assert len(reached) > 10
    assert {file.relative_to(ROOT).parts[0] for file in reached} <= set(copied)
    assert not _missing(reached, "load.lock")


def _missing(files: Collection[Path], locked_in: str) -> set[str]:
    """Imports of what the lock of an image does not have."""
    locked = {_normal(name) for name in lock.read_lock((lock.FOLDER / locked_in).read_text())}
    distributions = packages_distributions()
    return {
        f"{name} in {file.relative_to(ROOT)}"
        for file in files
        for name in {module.split(".")[0] for module in _imported(file)}
        if name in distributions
        and not {_normal(one) for one in distributions[name]} & {*locked, "firedrill"}
    }


def _reached(files: set[Path]) -> set[Path]:
    """These modules of ours, and all of ours that they import, directly or not."""
    while True:
        modules = {module for file in files for module in _imported(file)}
        places = {ROOT / module.replace(".", "/") for module in modules}
        more = {
            file
            for place in places
            for file in (place.with_name(f"{place.name}.py"), place / "__init__.py")
            if file.is_file()
        }
        if more <= files:
            return files
        files |= more


def _imported(file: Path) -> set[str]:
    """Modules by their dotted names; of `from a import b` also a.b, which may be one."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return {name for name in found if name.split(".")[0] not in sys.stdlib_module_names}


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
