"""docker-compose.yml and the image, as far as they can be judged without an engine.

`make compose-check` starts them where there is one.
"""

import ast
import json
import re
import sys
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.compose import prepare
from deploy.image import lock
from service.config import Config
from stack import discovery, parts, postgres
from stack.credentials import Credentials
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


def native_part(name: str) -> parts.Part:
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
    mounted = {volume.split(":")[1] for volume in SERVICES["grafana"]["volumes"]}
    assert set(re.findall(r"path: (\S+)", files)) <= mounted


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


# ---- the image --------------------------------------------------------------------------------------

DOCKERFILE = (ROOT / "Dockerfile").read_text()


def test_the_dockerfile_needs_no_buildkit() -> None:
    assert not re.search(
        r"^# *syntax=|--mount=|--chmod|--link|<<|\$TARGET", DOCKERFILE, re.MULTILINE
    )


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


def test_an_entry_without_a_hash_is_refused() -> None:
    with pytest.raises(lock.LockError, match="left-pad"):
        lock.read_lock("left-pad==1.0\n    # via firedrill (pyproject.toml)\n")


def test_everything_that_is_imported_is_in_the_image() -> None:
    """An import of a package that only the development environment has fails here, not in a container."""
    locked = {_normal(name) for name in lock.read_lock((lock.FOLDER / "service.lock").read_text())}
    distributions = packages_distributions()
    folders = [
        *("service", "stack/pager", "stack/prober", "stack/provider", "stack/proxy"),
        *("deploy/compose", "deploy/image"),
    ]
    files = [file for folder in folders for file in (ROOT / folder).rglob("*.py")]
    missing = {
        f"{name} in {file.relative_to(ROOT)}"
        for file in [*files, ROOT / "alerting/build.py", ROOT / "alerting/routing.py"]
        for name in _imported(file)
        if name in distributions
        and not {_normal(one) for one in distributions[name]} & {*locked, "firedrill"}
    }

    assert not missing


def _imported(file: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.split(".")[0])
    return found - sys.stdlib_module_names


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
