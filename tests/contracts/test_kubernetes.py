"""The manifests for a cluster: valid by the published schemas, and consistent with the rest of the project.

Of the Prometheus operator's objects there is no published schema in the packages used here: a field of
theirs is checked by its name alone.
"""

import functools
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import kubernetes_validate  # type: ignore[import-untyped]
import pytest
import yaml

from deploy.kubernetes import build
from service.config import Config
from stack.settings import ROOT

FOLDER = ROOT / "deploy" / "kubernetes"
VERSIONS = ("1.31", "1.37")
"""The oldest that a provider still runs, and the newest that the schemas know."""
CONFIG_MAP_BYTES_MAX = 1024 * 1024
"""The API server refuses larger ones."""
OPERATOR = "monitoring.coreos.com/v1"
OPERATOR_FIELDS = {
    "PodMonitor": {
        *("selector", "podMetricsEndpoints", "sampleLimit"),
        *("labelLimit", "labelNameLengthLimit", "labelValueLengthLimit"),
    },
    "PrometheusRule": {"groups"},
    "Prometheus": {
        *("replicas", "version", "serviceAccountName", "scrapeInterval", "scrapeTimeout"),
        *("evaluationInterval", "retention", "enableFeatures", "exemplars", "additionalArgs"),
        *("podMonitorSelector", "ruleSelector", "alerting", "remoteWrite", "resources"),
        "securityContext",
    },
}
ELSEWHERE = {"prometheus-finds-alertmanager"}
"""Where Alertmanager is."""

Manifest = dict[str, Any]


def sources() -> Iterator[tuple[str, Manifest]]:
    for file in sorted(FOLDER.rglob("*.yaml")):
        if file.name == "kustomization.yaml" or file == build.AGENT:
            continue
        for document in yaml.load_all(file.read_text(), Loader=yaml.CSafeLoader):
            name = f"{file.relative_to(FOLDER)}: {document['kind']} {document['metadata']['name']}"
            yield name, document


SOURCES = dict(sources())


def kind(*kinds: str) -> list[Manifest]:
    return [one for one in SOURCES.values() if one["kind"] in kinds]


def the(a_kind: str, name: str) -> Manifest:
    return next(one for one in kind(a_kind) if one["metadata"]["name"] == name)


def pod(document: Manifest) -> Manifest:
    template: Manifest = document.get("spec", {}).get("template", {})
    return template


def containers(document: Manifest) -> list[Manifest]:
    found: list[Manifest] = pod(document).get("spec", {}).get("containers", [])
    return found


WORKLOADS = {one["metadata"]["name"]: one for one in SOURCES.values() if containers(one)}


@functools.cache
def rendered(folder: Path) -> list[Manifest]:
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is missing: only the sources are checked")
    done = subprocess.run(
        ["kubectl", "kustomize", folder], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return [one for one in yaml.load_all(done.stdout, Loader=yaml.CSafeLoader) if one]


def check(document: Manifest, version: str) -> None:
    if document["apiVersion"] == OPERATOR:
        assert document.keys() == {"apiVersion", "kind", "metadata", "spec"}
        assert document["spec"].keys() <= OPERATOR_FIELDS[document["kind"]]
    else:
        kubernetes_validate.validate(document, version, strict=True)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", SOURCES)
def test_each_manifest_is_valid(name: str, version: str) -> None:
    check(SOURCES[name], version)


def test_a_misspelt_field_is_found() -> None:
    broken = the("Deployment", "service")
    broken = {**broken, "spec": {**broken["spec"], "revisonHistoryLimit": 3}}

    with pytest.raises(kubernetes_validate.ValidationError):
        check(broken, VERSIONS[-1])


@pytest.mark.parametrize("folder", [FOLDER, FOLDER / "load"], ids=["all", "load"])
def test_what_kustomize_makes_of_them_is_valid(folder: Path) -> None:
    documents = rendered(folder)

    assert len(documents) >= 3
    for document in documents:
        check(document, VERSIONS[-1])
        assert "REPLACED" not in str(document)
        if document["kind"] != "Namespace" and document["metadata"]["name"] not in ELSEWHERE:
            assert document["metadata"]["namespace"] == "firedrill"
        for container in containers(document):
            assert re.search(r":v?\d+\.\d+", container["image"]), container["image"]


def test_every_dashboard_is_a_config_map_that_grafana_finds() -> None:
    maps = {
        name: text
        for one in rendered(FOLDER)
        if one["metadata"].get("labels", {}).get("grafana_dashboard") == "1"
        for name, text in one["data"].items()
    }

    assert maps == {file.name: file.read_text() for file in (ROOT / "dashboards").glob("*.json")}
    assert max(map(len, maps.values())) < CONFIG_MAP_BYTES_MAX


def test_credentials_are_a_component_that_is_added(tmp_path: Path) -> None:
    """With it remote write sends a token, without it none."""
    for part in ("deploy/kubernetes", "dashboards"):
        shutil.copytree(ROOT / part, tmp_path / part)
    copied = tmp_path / "deploy" / "kubernetes"
    file = copied / "kustomization.yaml"
    file.write_text(file.read_text().replace("# components:", "components:"))

    def remote_write(folder: Path) -> Manifest:
        prometheus = next(one for one in rendered(folder) if one["kind"] == "Prometheus")
        written: Manifest = prometheus["spec"]["remoteWrite"][0]
        return written

    assert "authorization" not in remote_write(FOLDER)
    assert remote_write(copied)["authorization"]["credentials"]["name"] == "backends"


@functools.cache
def manifests() -> dict[str, list[Manifest]]:
    return build.manifests(build.GRAFANA_URL, build.RUNBOOKS_URL)


@pytest.mark.parametrize("name", [file.name for file in sorted(build.GENERATED.iterdir())])
def test_generated_manifests_are_up_to_date(name: str) -> None:
    made = build.text_of(manifests()[name])

    assert (build.GENERATED / name).read_text() == made, "run `make manifests`"


@pytest.mark.parametrize("name", WORKLOADS)
def test_pods_have_few_rights_and_bounded_memory(name: str) -> None:
    for container in containers(WORKLOADS[name]):
        allowed, resources = container["securityContext"], container["resources"]
        assert allowed["readOnlyRootFilesystem"] is True
        assert allowed["allowPrivilegeEscalation"] is False
        assert allowed["capabilities"] == {"drop": ["ALL"]}
        assert "memory" in resources["limits"]
        assert "memory" in resources["requests"]
    if name != "collector-agent":  # logs of the node belong to root
        spec = pod(WORKLOADS[name])["spec"]
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["automountServiceAccountToken"] is False


def test_selectors_find_the_pods_that_are_meant() -> None:
    for one in kind("Service", "NetworkPolicy", "PodDisruptionBudget", "Deployment", "DaemonSet"):
        wanted = one["spec"].get("selector") or one["spec"]["podSelector"]
        labels = pod(WORKLOADS[one["metadata"]["name"]])["metadata"]["labels"]
        assert wanted.get("matchLabels", wanted).items() <= labels.items(), one["metadata"]["name"]


def test_ports_that_are_named_exist() -> None:
    ports = {
        name: {port["name"] for port in containers(one)[0].get("ports", [])}
        for name, one in WORKLOADS.items()
    }

    for one in kind("Service"):
        for port in one["spec"]["ports"]:
            assert port.get("targetPort", port["name"]) in ports[one["metadata"]["name"]]
    for one in kind("PodMonitor"):
        for endpoint in one["spec"]["podMetricsEndpoints"]:
            assert any(endpoint["port"] in names for names in ports.values())


def test_the_ports_of_the_collectors_are_those_of_their_configuration() -> None:
    defaults = set(re.findall(r"_PORT:-(\d+)\}", (ROOT / "otel-collector.yaml").read_text()))

    for name in ("collector-agent", "collector-gateway"):
        (container,) = containers(WORKLOADS[name])
        assert {str(port["containerPort"]) for port in container["ports"]} <= defaults


def test_two_endpoints_of_a_pod_are_two_instances() -> None:
    """Or there were two samples of one `up` at a time, of which Prometheus drops one."""
    endpoints = the("PodMonitor", "collector")["spec"]["podMetricsEndpoints"]
    instances = [one["relabelings"][-1].get("replacement", "$1") for one in endpoints]

    assert len(set(instances)) == len(instances) == 2


def test_the_rules_find_the_labels_that_they_ask_for() -> None:
    native = yaml.safe_load((ROOT / "alerting/prometheus.yml").read_text())

    for one in kind("PodMonitor"):
        for endpoint in one["spec"]["podMetricsEndpoints"]:
            given = {item["targetLabel"]: item for item in endpoint["relabelings"]}
            assert given.keys() == {"job", "service", "env", "instance"}
            assert given["env"]["replacement"] == build.ENVIRONMENT
    prometheus = the("Prometheus", "firedrill")["spec"]
    assert prometheus["scrapeInterval"] == native["global"]["scrape_interval"]
    assert prometheus["evaluationInterval"] == native["global"]["evaluation_interval"]


def test_the_host_that_links_to_runbooks_name_serves_them() -> None:
    links = {
        rule["annotations"]["runbook_url"]
        for one in kind("PrometheusRule")
        for group in one["spec"]["groups"]
        for rule in group["rules"]
        if "alert" in rule
    }
    (host,) = the("Ingress", "runbooks")["spec"]["rules"]
    (path,) = host["http"]["paths"]

    assert {urlsplit(one).hostname for one in links} == {host["host"]}
    assert all(urlsplit(one).path.startswith(f"{path['path']}/") for one in links)
    assert the("Service", path["backend"]["service"]["name"])


def test_a_replica_stops_without_losing_a_request() -> None:
    spec = pod(the("Deployment", "service"))["spec"]
    (container,) = spec["containers"]
    pause = int(container["lifecycle"]["preStop"]["exec"]["command"][1])
    readiness = container["readinessProbe"]

    assert pause >= readiness["periodSeconds"] * readiness["failureThreshold"]
    stop = Config.model_fields["stop_seconds"].default
    assert spec["terminationGracePeriodSeconds"] > pause + stop + 2


@pytest.mark.parametrize("name", ["service", "migrations"])
def test_the_service_is_given_only_what_it_reads(name: str) -> None:
    (container,) = containers(WORKLOADS[name])
    names = {variable["name"] for variable in container["env"]}

    assert names - {"NODE_IP"} <= {field.upper() for field in Config.model_fields}


def test_the_agents_know_the_gateways_and_every_part_of_their_pipelines() -> None:
    agent = build.agent()
    balancing = agent["exporters"]["load_balancing"]
    gateway = the("Service", "collector-gateway")

    assert balancing["resolver"]["k8s"]["service"].split(".")[0] == gateway["metadata"]["name"]
    assert balancing["resolver"]["k8s"]["ports"] == [
        one["port"] for one in gateway["spec"]["ports"]
    ]
    for pipeline in agent["service"]["pipelines"].values():
        for section in ("receivers", "processors", "exporters"):
            assert set(pipeline[section]) <= agent[section].keys()
    # Longer than the tries below it, or a try is cut off and its spans are sent twice.
    tries = balancing["protocol"]["otlp"]["retry_on_failure"]["max_elapsed_time"]
    assert int(balancing["timeout"].rstrip("s")) > int(tries.rstrip("s"))
