"""The manifests for a cluster: valid by the published schemas, and at one with the rest of the project.

Of the Prometheus operator's objects there is no published schema in the packages used here, so their
structure is checked against the few fields that we use, by name: a typing mistake is found, a field that
the operator would refuse for its value is not.
"""

import functools
import json
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
from loadtests.costs import scaling_page as page
from service.config import Config
from stack.settings import ROOT

FOLDER = ROOT / "deploy" / "kubernetes"
VERSIONS = ("1.31", "1.37")
"""The oldest that a provider still runs, and the newest that the schemas know."""
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
RULE_FIELDS = {
    "alert",
    "record",
    "expr",
    "for",
    "keep_firing_for",
    "labels",
    "annotations",
}

ELSEWHERE = {"prometheus-finds-alertmanager"}
"""Where Alertmanager is."""

Manifest = dict[str, Any]
LOADER = yaml.CSafeLoader
"""As the safe one, ten times faster: the dashboards are large."""


def sources() -> Iterator[tuple[str, Manifest]]:
    for file in sorted(FOLDER.rglob("*.yaml")):
        if file.name == "kustomization.yaml" or file == build.AGENT:
            continue
        for document in yaml.load_all(file.read_text(), Loader=LOADER):
            name = f"{file.relative_to(FOLDER)}: {document['kind']} {document['metadata']['name']}"
            yield name, document


SOURCES = dict(sources())


def the(kind: str, name: str) -> Manifest:
    return next(
        one for one in SOURCES.values() if (one["kind"], one["metadata"]["name"]) == (kind, name)
    )


@functools.cache
def rendered(folder: Path) -> list[Manifest]:
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is missing: only the sources are checked")
    done = subprocess.run(
        ["kubectl", "kustomize", folder], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return [document for document in yaml.load_all(done.stdout, Loader=LOADER) if document]


def check(document: Manifest, version: str) -> None:
    """By the published schema, unknown fields refused; by our own list for the operator's kinds."""
    if document["apiVersion"] == OPERATOR:
        assert document.keys() == {"apiVersion", "kind", "metadata", "spec"}
        assert document["spec"].keys() <= OPERATOR_FIELDS[document["kind"]]
    else:
        kubernetes_validate.validate(document, version, strict=True)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", SOURCES)
def test_each_manifest_is_valid(name: str, version: str) -> None:
    check(SOURCES[name], version)


@pytest.mark.parametrize("folder", [FOLDER, FOLDER / "load"], ids=["all", "load"])
def test_what_kustomize_makes_of_them_is_valid(folder: Path) -> None:
    documents = rendered(folder)

    assert len(documents) >= 3
    for document in documents:
        check(document, VERSIONS[-1])
        if document["kind"] != "Namespace" and document["metadata"]["name"] not in ELSEWHERE:
            assert document["metadata"]["namespace"] == "firedrill"
        for container in containers(document):
            assert re.search(r":v?\d+\.\d+", container["image"]), container["image"]


def test_endpoints_are_said_once() -> None:
    documents = rendered(FOLDER)

    endpoints = next(one for one in documents if one["metadata"]["name"].startswith("endpoints-"))[
        "data"
    ]
    prometheus = next(one for one in documents if one["kind"] == "Prometheus")
    assert prometheus["spec"]["remoteWrite"][0]["url"] == endpoints["REMOTE_WRITE_URL"]
    assert prometheus["spec"]["remoteWrite"][0]["headers"] == {
        "X-Scope-OrgID": endpoints["METRICS_TENANT"]
    }
    service, namespace, _ = endpoints["ALERTMANAGER_HOST"].split(".")
    assert prometheus["spec"]["alerting"] == {
        "alertmanagers": [{"name": service, "namespace": namespace, "port": 9093}]
    }
    allowed = [one for one in documents if one["metadata"]["name"] in ELSEWHERE]
    assert [one["metadata"]["namespace"] for one in allowed] == [namespace, namespace]
    binding = next(one for one in allowed if one["kind"] == "RoleBinding")
    assert binding["subjects"] == [
        {
            "kind": "ServiceAccount",
            "name": prometheus["spec"]["serviceAccountName"],
            "namespace": prometheus["metadata"]["namespace"],
        }
    ]
    collector = (ROOT / "otel-collector.yaml").read_text()
    for name in ("TRACES_ENDPOINT", "LOGS_ENDPOINT"):
        assert f"${{env:{name}:-" in collector
        assert endpoints[name].startswith("http://")
    for name in ("TRACES_TENANT", "LOGS_TENANT"):
        assert f"${{env:{name}:-}}" in collector
        assert endpoints[name]


def test_credentials_are_a_component_that_is_added(tmp_path: Path) -> None:
    """With it remote write sends a token, without it none; the gateway's secret may be absent."""
    copied = shutil.copytree(FOLDER, tmp_path / "kubernetes")
    file = copied / "kustomization.yaml"
    file.write_text(file.read_text().replace("# components:", "components:"))

    def remote_write(folder: Path) -> Manifest:
        prometheus = next(one for one in rendered(folder) if one["kind"] == "Prometheus")
        written: Manifest = prometheus["spec"]["remoteWrite"][0]
        return written

    assert "authorization" not in remote_write(FOLDER)
    assert remote_write(copied)["authorization"]["credentials"] == {
        "name": "backends",
        "key": "METRICS_TOKEN",
    }
    (container,) = containers(the("StatefulSet", "collector-gateway"))
    assert {"secretRef": {"name": "backends", "optional": True}} in container["envFrom"]
    for name in ("TRACES_AUTHORIZATION", "LOGS_AUTHORIZATION"):
        assert f"${{env:{name}:-}}" in (ROOT / "otel-collector.yaml").read_text()


def test_a_misspelt_field_is_found() -> None:
    broken = the("Deployment", "service")
    broken = {**broken, "spec": {**broken["spec"], "revisonHistoryLimit": 3}}

    with pytest.raises(kubernetes_validate.ValidationError):
        check(broken, VERSIONS[-1])


@pytest.mark.parametrize(
    "name", ["rules.yaml", "runbooks.yaml", "dashboards.yaml", "collector.yaml"]
)
def test_generated_manifests_are_up_to_date(name: str) -> None:
    made = build.text_of(manifests()[name])

    assert (build.GENERATED / name).read_text() == made, "run `make manifests`"


@functools.cache
def manifests() -> dict[str, list[Manifest]]:
    return build.manifests(build.GRAFANA_URL, build.RUNBOOKS_URL)


def test_rules_and_files_arrive_as_they_are() -> None:
    rules = [one for one in SOURCES.values() if one["kind"] == "PrometheusRule"]
    alerts = {path.parent.name for path in (ROOT / "alerting/alerts").glob("*/rule.yaml")}

    assert {one["metadata"]["name"] for one in rules} >= {
        name.replace("_", "-") for name in alerts
    }
    for one in rules:
        for group in one["spec"]["groups"]:
            for rule in group["rules"]:
                assert rule.keys() <= RULE_FIELDS
                assert rule.get("labels", {}).get("env", build.ENVIRONMENT) == build.ENVIRONMENT
    assert the("ConfigMap", "otel-collector")["data"] == {
        "otel-collector.yaml": (ROOT / "otel-collector.yaml").read_text()
    }
    dashboards = [one for one in SOURCES.values() if "grafana_dashboard" in str(one["metadata"])]
    assert len(dashboards) == len(list((ROOT / "dashboards").glob("*.json")))


def test_the_host_that_links_to_runbooks_name_serves_them() -> None:
    rules = [one for one in SOURCES.values() if one["kind"] == "PrometheusRule"]
    links = {
        rule["annotations"]["runbook_url"]
        for one in rules
        for group in one["spec"]["groups"]
        for rule in group["rules"]
        if "alert" in rule
    }
    dashboards = [one for one in SOURCES.values() if "grafana_dashboard" in str(one["metadata"])]
    for one in dashboards:
        (text,) = one["data"].values()
        variables = json.loads(text)["templating"]["list"]
        links |= {
            f"{item['query']}/runbooks/x" for item in variables if item["name"] == "runbooks"
        }
        assert "127.0.0.1" not in text
    (host,) = the("Ingress", "runbooks")["spec"]["rules"]
    (path,) = host["http"]["paths"]
    (container,) = containers(the("Deployment", "runbooks"))

    assert {urlsplit(one).hostname for one in links} == {host["host"]}
    assert all(urlsplit(one).path.startswith(f"{path['path']}/") for one in links)
    assert path["backend"]["service"]["name"] == the("Service", "runbooks")["metadata"]["name"]
    (port,) = container["ports"]
    assert container["command"][-1] == str(port["containerPort"])
    assert container["command"][2] == "stack.runbooks"


def pod(document: Manifest) -> Manifest:
    template: Manifest = document.get("spec", {}).get("template", {})
    return template


def containers(document: Manifest) -> list[Manifest]:
    found: list[Manifest] = pod(document).get("spec", {}).get("containers", [])
    return found


WORKLOADS = {name: one for name, one in SOURCES.items() if containers(one)}


@pytest.mark.parametrize("name", WORKLOADS)
def test_pods_have_few_rights_and_bounded_memory(name: str) -> None:
    workload = WORKLOADS[name]
    (container,) = containers(workload)

    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert container["securityContext"]["allowPrivilegeEscalation"] is False
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert "memory" in container["resources"]["limits"]
    assert container["resources"].keys() == {"requests", "limits"}
    # Logs of the node belong to root; nothing else runs as root.
    if workload["metadata"]["name"] != "collector-agent":
        assert pod(workload)["spec"]["securityContext"]["runAsNonRoot"] is True
        assert pod(workload)["spec"]["automountServiceAccountToken"] is False


def test_selectors_find_the_pods_that_are_meant() -> None:
    labels = {
        workload["metadata"]["name"]: pod(workload)["metadata"]["labels"]
        for workload in WORKLOADS.values()
    }
    selecting = {
        "Service": lambda one: one["spec"]["selector"],
        "PodDisruptionBudget": lambda one: one["spec"]["selector"]["matchLabels"],
        "NetworkPolicy": lambda one: one["spec"]["podSelector"]["matchLabels"],
        "Deployment": lambda one: one["spec"]["selector"]["matchLabels"],
        "StatefulSet": lambda one: one["spec"]["selector"]["matchLabels"],
        "DaemonSet": lambda one: one["spec"]["selector"]["matchLabels"],
    }

    for name, one in SOURCES.items():
        if one["kind"] in selecting:
            wanted = selecting[one["kind"]](one).items()
            assert wanted <= labels[one["metadata"]["name"]].items(), name


def test_ports_that_are_named_exist() -> None:
    ports = {
        workload["metadata"]["name"]: {
            port["name"] for container in containers(workload) for port in container["ports"]
        }
        for workload in WORKLOADS.values()
        if containers(workload)[0].get("ports")
    }

    for one in (one for one in SOURCES.values() if one["kind"] == "Service"):
        for port in one["spec"]["ports"]:
            assert port.get("targetPort", port["name"]) in ports[one["metadata"]["name"]]
    assert the("PodMonitor", "service")["spec"]["podMetricsEndpoints"][0]["port"] == "internal"
    scraped = {
        one["port"] for one in the("PodMonitor", "collector")["spec"]["podMetricsEndpoints"]
    }
    assert scraped & ports["collector-agent"] == {"metrics"}
    assert scraped & ports["collector-gateway"] == scraped == {"metrics", "span-metrics"}


def test_the_ports_of_the_collectors_are_those_of_their_configuration() -> None:
    text = (ROOT / "otel-collector.yaml").read_text()
    variables = {
        "otlp-grpc": "OTLP_GRPC_PORT",
        "otlp-http": "OTLP_PORT",
        "metrics": "COLLECTOR_METRICS_PORT",
        "span-metrics": "COLLECTOR_SPAN_METRICS_PORT",
        "health": "COLLECTOR_HEALTH_PORT",
    }

    for kind, name in (("DaemonSet", "collector-agent"), ("StatefulSet", "collector-gateway")):
        (container,) = containers(the(kind, name))
        for port in container["ports"]:
            assert f"${{env:{variables[port['name']]}:-{port['containerPort']}}}" in text


def test_the_two_ports_of_a_gateway_are_two_instances() -> None:
    """Or there were two samples of one `up` at a time, of which Prometheus drops one."""
    endpoints = the("PodMonitor", "collector")["spec"]["podMetricsEndpoints"]
    labels = [
        {one["targetLabel"]: one.get("replacement", "$1") for one in endpoint["relabelings"]}
        for endpoint in endpoints
    ]

    assert [one.pop("instance") for one in labels] == ["$1", "$1:8889"]
    assert labels[0] == labels[1]
    assert labels[0] == {"job": "collector", "service": "monitoring", "env": build.ENVIRONMENT}


def test_replicas_are_added_before_their_one_core_is_used_up() -> None:
    """As a quantity: a share would be of the request, a quarter of a core."""
    scaler = the("HorizontalPodAutoscaler", "service")["spec"]
    (metric,) = scaler["metrics"]

    assert metric["resource"]["target"] == {"type": "AverageValue", "averageValue": "700m"}


def test_a_replica_stops_without_losing_a_request() -> None:
    spec = pod(the("Deployment", "service"))["spec"]
    (container,) = spec["containers"]
    pause = int(container["lifecycle"]["preStop"]["exec"]["command"][1])
    readiness = container["readinessProbe"]

    assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"
    assert container["livenessProbe"]["httpGet"]["path"] == "/livez"
    assert pause >= readiness["periodSeconds"] * readiness["failureThreshold"]
    stop = Config.model_fields["stop_seconds"].default
    assert spec["terminationGracePeriodSeconds"] > pause + stop + 2


def test_the_service_is_told_only_what_it_reads_and_each_replica_its_own_name() -> None:
    for kind, name in (("Deployment", "service"), ("Job", "migrations")):
        (container,) = containers(the(kind, name))
        names = {variable["name"] for variable in container["env"]}
        assert names - {"NODE_IP"} <= {field.upper() for field in Config.model_fields}
    (container,) = containers(the("Deployment", "service"))
    instance = next(one for one in container["env"] if one["name"] == "SERVICE_INSTANCE")
    assert instance["valueFrom"] == {"fieldRef": {"fieldPath": "metadata.name"}}


def test_the_monitors_have_the_limits_and_labels_of_prometheus_yml() -> None:
    native = yaml.safe_load((ROOT / "alerting/prometheus.yml").read_text())
    service = next(one for one in native["scrape_configs"] if one["job_name"] == "service")
    monitor = the("PodMonitor", "service")["spec"]

    assert monitor["sampleLimit"] == service["sample_limit"]
    assert monitor["labelLimit"] == service["label_limit"]
    assert monitor["labelNameLengthLimit"] == service["label_name_length_limit"]
    assert monitor["labelValueLengthLimit"] == service["label_value_length_limit"]
    given = {
        one["targetLabel"]: one.get("replacement")
        for one in monitor["podMetricsEndpoints"][0]["relabelings"]
    }
    assert given == {
        "job": "service",
        "service": "api",
        "env": build.ENVIRONMENT,
        "instance": None,
    }
    prometheus = the("Prometheus", "firedrill")["spec"]
    assert prometheus["scrapeInterval"] == native["global"]["scrape_interval"]
    assert prometheus["evaluationInterval"] == native["global"]["evaluation_interval"]
    assert prometheus["exemplars"]["maxSize"] == native["storage"]["exemplars"]["max_exemplars"]


def agent_configuration() -> dict[str, Any]:
    text = the("ConfigMap", "collector-agent")["data"]["agent.yaml"]
    configuration: dict[str, Any] = yaml.safe_load(text)
    return configuration


def test_the_agents_queue_is_on_disk_and_above_the_exporters_that_share_its_store() -> None:
    """Contrib issue 16826: one store below `otlp` would be shared by all gateways' exporters."""
    exporter = agent_configuration()["exporters"]["load_balancing"]

    assert exporter["sending_queue"]["storage"] == "file_storage"
    assert exporter["protocol"]["otlp"]["sending_queue"] == {"enabled": False}
    # Enabled by itself, unlike those of other exporters, it has no defaults: 0 means at once.
    assert exporter["retry_on_failure"]["multiplier"] > 1
    tries = exporter["protocol"]["otlp"]["retry_on_failure"]["max_elapsed_time"]
    assert int(exporter["timeout"].rstrip("s")) > int(tries.rstrip("s"))


def test_the_agents_take_a_line_apart_as_otel_collector_yaml_does() -> None:
    native = yaml.safe_load((ROOT / "otel-collector.yaml").read_text())
    reading = agent_configuration()["receivers"]["file_log"]

    assert [one["type"] for one in reading["operators"][:2]] == ["container", "json_parser"]
    assert reading["operators"][1:] == native["receivers"]["file_log"]["operators"]
    assert reading["include_file_path"] is True
    assert agent_configuration()["service"]["telemetry"] == native["service"]["telemetry"]


def test_the_agents_send_each_trace_to_one_gateway() -> None:
    agent = agent_configuration()
    pipelines = agent["service"]["pipelines"]

    assert pipelines["traces"]["exporters"] == ["load_balancing"]
    assert agent["exporters"]["load_balancing"]["routing_key"] == "traceID"
    gateway = the("Service", "collector-gateway")
    assert gateway["spec"]["clusterIP"] == "None"
    resolver = agent["exporters"]["load_balancing"]["resolver"]["k8s"]
    assert resolver["service"].split(".")[0] == gateway["metadata"]["name"]
    assert resolver["ports"] == [port["port"] for port in gateway["spec"]["ports"]]
    for pipeline in pipelines.values():
        for section in ("receivers", "processors", "exporters"):
            assert set(pipeline[section]) <= agent[section].keys()


def test_the_page_about_scaling_is_made_of_its_figures() -> None:
    figures = page.Figures(**json.loads(page.FIGURES.read_text()))

    assert page.PAGE.read_text() == page.render(figures), (
        "run `python -m loadtests.costs.scaling_page`"
    )


def test_gateways_are_counted_by_what_runs_out_first() -> None:
    one = page.Gateway(
        spans_per_cpu_second=10_000,
        measured_at="",
        undecided_traces_max=20_000,
        decision_wait_seconds=30,
    )

    # Of a core, 0.7 is used: 7,000 spans/s. 20,000 traces that wait 30 s each: 667 new ones a second.
    assert one.needed(spans_per_second=70_000, traces_per_second=600) == 10
    assert one.needed(spans_per_second=7_000, traces_per_second=6_000) == 9


def test_the_page_says_how_many_connections_the_autoscaler_can_open() -> None:
    replicas, pool = page.autoscaling()

    assert f"{replicas} × {pool} = {replicas * pool}" in page.PAGE.read_text()
