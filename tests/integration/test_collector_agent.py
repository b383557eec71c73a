"""A node's agent on the configuration that the cluster gets, before two gateways on otel-collector.yaml."""

import json
import re
import secrets
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from deploy.kubernetes import build
from stack.waiting import until
from tests.integration.collector_process import (
    Collector,
    attributes,
    attributes_of,
    collector_path,
    running_collector,
)

SERVICE_POD = "firedrill_service-7d9f_0a1b2c3d-0000-4000-8000-1234567890ab"


@dataclass
class Cluster:
    agent: Collector
    gateways: list[Collector]

    @property
    def spans(self) -> list[set[bytes]]:
        """Ids of the spans that each gateway's back end has."""
        return [{one.span_id for one in gateway.back_end.spans} for gateway in self.gateways]

    @property
    def pod_logs(self) -> Path:
        return self.agent.directory / "pods"


def configuration(gateways: list[Collector], file: Path) -> Path:
    """The cluster's, with addresses of this machine: nothing else differs."""
    agent = build.agent()
    addresses = [f"127.0.0.1:{one.ports['OTLP_GRPC']}" for one in gateways]
    agent["exporters"]["load_balancing"]["resolver"] = {"static": {"hostnames": addresses}}
    agent["exporters"]["otlp_grpc"]["endpoint"] = addresses[0]
    file.write_text(yaml.safe_dump(agent))
    return file


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    with ExitStack() as stack:
        gateways = [
            stack.enter_context(running_collector(tmp_path / f"gateway-{n}")) for n in range(2)
        ]
        agent = stack.enter_context(
            running_collector(
                tmp_path / "agent",
                config=configuration(gateways, tmp_path / "agent.yaml"),
                LOG_FILES=str(tmp_path / "agent/pods/firedrill_*/*/*.log"),
            )
        )
        yield Cluster(agent, gateways)


def traces(count: int, spans_each: int) -> list[list[Span]]:
    return [
        [
            Span(
                trace_id=trace_id,
                span_id=secrets.token_bytes(8),
                name="work",
                attributes=attributes_of({"firedrill.trace.keep": True}),
            )
            for _ in range(spans_each)
        ]
        for trace_id in (secrets.token_bytes(16) for _ in range(count))
    ]


def test_the_configuration_of_the_cluster_is_valid(tmp_path: Path) -> None:
    """As it is, with the resolver that asks Kubernetes."""
    manifest = next(
        one
        for one in yaml.safe_load_all((build.GENERATED / "collector.yaml").read_text())
        if one["metadata"]["name"] == "collector-agent"
    )
    file = tmp_path / "agent.yaml"
    file.write_text(manifest["data"]["agent.yaml"])

    done = subprocess.run(
        [collector_path(), "validate", "--config", str(file)],
        env={"COLLECTOR_DATA": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, done.stderr) == (0, "")


def test_all_spans_of_a_trace_arrive_at_one_gateway(cluster: Cluster) -> None:
    """Though each span of a trace comes in another request, and from another service."""
    sent = traces(count=60, spans_each=4)

    for number, batch in enumerate(zip(*sent, strict=True)):
        assert cluster.agent.send(batch, service=f"service-{number % 2}") == 200

    until(lambda: sum(map(len, cluster.spans)) == 240, "every span")
    for trace in sent:
        ids = {span.span_id for span in trace}
        assert any(ids <= arrived for arrived in cluster.spans)
    assert all(cluster.spans), "one gateway had everything"


def test_spans_wait_for_the_gateways_and_survive_sigkill_of_the_agent(cluster: Cluster) -> None:
    for gateway in cluster.gateways:
        gateway.kill()
    sent = [span for trace in traces(count=50, spans_each=2) for span in trace]
    for start in range(0, len(sent), 20):
        assert cluster.agent.send(sent[start : start + 20]) == 200
    until(
        lambda: (
            cluster.agent.metric("otelcol_exporter_queue_size", exporter="load_balancing")
            == len(sent)
        ),
        "every span in the queue",
    )

    cluster.agent.kill()
    for gateway in cluster.gateways:
        gateway.start()
    cluster.agent.start()

    until(lambda: sum(map(len, cluster.spans)) == len(sent), "every span")
    arrived = [span.span_id for one in cluster.gateways for span in one.back_end.spans]
    assert sorted(arrived) == sorted(one.span_id for one in sent)


def found(cluster: Cluster, trace_id: str) -> list[tuple[LogRecord, dict[str, str]]]:
    """The lines that speak of this trace, each with its resource."""
    return [
        (record, attributes(resource.resource.attributes))
        for resource in list(cluster.gateways[0].back_end.resource_logs)
        for scope in resource.scope_logs
        for record in scope.log_records
        if trace_id in record.body.string_value
    ]


def in_cri(line: str) -> str:
    """As containerd writes a line of a container: with a frame, and split when it is long."""
    frame = "2026-11-20T10:00:00.500000000Z stdout"
    return f"{frame} P {line[:40]}\n{frame} F {line[40:]}\n"


def test_a_line_of_a_pod_arrives_with_its_trace_service_level_and_time(cluster: Cluster) -> None:
    trace_id, span_id = secrets.token_hex(16), secrets.token_hex(8)
    fields: dict[str, Any] = {
        "timestamp": "2026-11-20T10:00:00.123456Z",
        "level": "warning",
        "event": "request_finished",
        "service.name": "api",
        "trace_id": trace_id,
        "span_id": span_id,
    }
    log = cluster.pod_logs / SERVICE_POD / "service" / "0.log"
    log.parent.mkdir(parents=True)
    log.write_text(in_cri(json.dumps(fields)))

    ((record, resource),) = until(lambda: found(cluster, trace_id), "the line")

    assert json.loads(record.body.string_value) == fields
    assert (record.trace_id.hex(), record.span_id.hex()) == (trace_id, span_id)
    assert record.severity_text == "warning"
    assert record.time_unix_nano == 1_795_168_800_123_456_000
    assert resource["service.name"] == "api"
    assert resource["k8s.pod.name"] == "service-7d9f"
    assert list(record.attributes) == []


def test_long_lines_of_a_pod_arrive(cluster: Cluster) -> None:
    """A hundred are read at once: together more than a gateway takes in one request."""
    sent = [secrets.token_hex(16) for _ in range(75)]
    log = cluster.pod_logs / SERVICE_POD / "service" / "0.log"
    log.parent.mkdir(parents=True)
    lines = [json.dumps({"trace_id": one, "event": "x" * 60_000}) for one in sent]
    log.write_text("".join(map(in_cri, lines)))

    records = cluster.gateways[0].back_end
    until(lambda: set(sent) <= {one.trace_id.hex() for one in records.records}, "every line")
    assert records.refused == 0


def test_the_agent_names_its_own_metrics_as_the_gateways_do(cluster: Cluster) -> None:
    """Units, _total, scope: rules and dashboards ask both by one name."""

    def of_the_process(collector: Collector) -> set[str]:
        text = collector.exposition("COLLECTOR_METRICS")
        return set(re.findall(r"^otelcol_process_\S+", text, re.MULTILINE))

    assert of_the_process(cluster.agent) == of_the_process(cluster.gateways[0])
    assert len(of_the_process(cluster.agent)) > 3
