"""The real collector on the shipped configuration, and a back end that notes what it is given."""

import gzip
import os
import subprocess
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, ResourceLogs
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span
from prometheus_client.parser import text_string_to_metric_families

from loadtests.world.cores import on_core
from stack.programs import COLLECTOR, ProgramsMissing, find_programs
from stack.serving import free_port
from stack.settings import ROOT
from stack.waiting import until

CONFIG = ROOT / "otel-collector.yaml"
REQUEST_BYTES_MAX = 4 << 20
"""What Loki and Tempo take by default; above it Loki says 503, which is tried again."""
PROTOBUF = {"Content-Type": "application/x-protobuf"}


def collector_path() -> str:
    """Return the collector. Raises ProgramsMissing."""
    path = find_programs().get(COLLECTOR)
    if path is None:
        raise ProgramsMissing("the collector is not built: `make tools`")
    return path


class BackEnd:
    """Stands where Tempo and Loki, or the viewer, stand. Stopped, its port refuses.

    refused: requests that were larger than REQUEST_BYTES_MAX. received_bytes: of all bodies, as they were on
    the wire. headers: of each request, and its path.
    """

    def __init__(self) -> None:
        self.port = free_port()
        self.resource_spans: list[ResourceSpans] = []
        self.resource_logs: list[ResourceLogs] = []
        self.refused = 0
        self.received_bytes = 0
        self.headers: list[dict[str, str]] = []
        self._server: ThreadingHTTPServer | None = None

    @property
    def spans(self) -> list[Span]:
        return [
            span
            for resource in list(self.resource_spans)
            for scope in resource.scope_spans
            for span in scope.spans
        ]

    @property
    def records(self) -> list[LogRecord]:
        return [
            record
            for resource in list(self.resource_logs)
            for scope in resource.scope_logs
            for record in scope.log_records
        ]

    def start(self) -> None:
        back_end = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                back_end.received_bytes += len(body)
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                back_end.headers.append({"path": self.path, **self.headers})
                if len(body) > REQUEST_BYTES_MAX:
                    back_end.refused += 1
                    self.send_response(503)
                else:
                    back_end._take(self.path, body)
                    self.send_response(200)
                self.send_header("Content-Type", "application/x-protobuf")
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name
                """Nothing on stderr."""

        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def _take(self, path: str, body: bytes) -> None:
        if path == "/v1/traces":
            self.resource_spans += ExportTraceServiceRequest.FromString(body).resource_spans
        else:
            self.resource_logs += ExportLogsServiceRequest.FromString(body).resource_logs


@dataclass
class Collector:
    """One collector: its directory and ports outlive its process, so that it can be restarted.

    core: the only one that it may use; any when None.
    """

    directory: Path
    back_end: BackEnd
    variables: Mapping[str, str] = field(default_factory=dict)
    config: Path = CONFIG
    core: int | None = None
    ports: dict[str, int] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None

    def __post_init__(self) -> None:
        for name in (
            *("OTLP", "OTLP_GRPC", "COLLECTOR_METRICS"),
            *("COLLECTOR_SPAN_METRICS", "COLLECTOR_HEALTH"),
        ):
            self.ports[name] = free_port()
        self.logs.mkdir(parents=True, exist_ok=True)

    @property
    def logs(self) -> Path:
        """Directory whose *.jsonl it follows."""
        return self.directory / "logs"

    @property
    def environment(self) -> dict[str, str]:
        url = f"http://127.0.0.1:{self.back_end.port}"
        return {
            "PATH": os.environ["PATH"],
            **{f"{name}_PORT": str(port) for name, port in self.ports.items()},
            "COLLECTOR_DATA": str(self.directory / "data"),
            "LOG_FILES": str(self.logs / "*.jsonl*"),
            "TRACES_ENDPOINT": url,
            "LOGS_ENDPOINT": url,
            **self.variables,
        }

    def start(self) -> None:
        log = (self.directory / "collector.log").open("ab")
        with log, on_core(self.core):
            self.process = subprocess.Popen(
                [collector_path(), "--config", str(self.config)],
                env=self.environment,
                stdout=log,
                stderr=log,
            )
        until(self._is_healthy, "a healthy collector")

    def kill(self) -> None:
        """As a crash or the kernel would: SIGKILL."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def send(self, spans: Iterable[Span], *, service: str = "api") -> int:
        """Send spans of one service in one request; returns the status."""
        return self.post("/v1/traces", request_of(spans, service=service).SerializeToString())

    def post(self, path: str, body: bytes) -> int:
        """Send an OTLP request; returns the status."""
        url = f"http://127.0.0.1:{self.ports['OTLP']}{path}"
        return httpx.post(url, content=body, headers=PROTOBUF, timeout=20).status_code

    def metric(self, name: str, **labels: str) -> float:
        """Sum of the samples of the collector's own metric that have these labels."""
        return self._sum("COLLECTOR_METRICS", name, labels)

    def span_metric(self, name: str, **labels: str) -> float:
        """The same for the metrics that the collector makes of spans."""
        return self._sum("COLLECTOR_SPAN_METRICS", name, labels)

    def exposition(self, port: str) -> str:
        return httpx.get(f"http://127.0.0.1:{self.ports[port]}/metrics", timeout=20).text

    def _sum(self, port: str, name: str, labels: Mapping[str, str]) -> float:
        return sum(
            sample.value
            for family in text_string_to_metric_families(self.exposition(port))
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )

    def _is_healthy(self) -> bool:
        if self.process is None or self.process.poll() is not None:
            log = (self.directory / "collector.log").read_text()
            raise ChildProcessError(f"the collector ended: {log[-2000:]}")
        try:
            url = f"http://127.0.0.1:{self.ports['COLLECTOR_HEALTH']}/"
            return httpx.get(url, timeout=5).status_code == 200
        except httpx.HTTPError:
            return False


@contextmanager
def running_collector(
    directory: Path, *, config: Path = CONFIG, core: int | None = None, **variables: str
) -> Iterator[Collector]:
    """A healthy collector and its back end, both gone at the end."""
    back_end = BackEnd()
    collector = Collector(directory, back_end, variables, config, core)
    try:
        back_end.start()
        collector.start()
        yield collector
    finally:
        collector.kill()
        back_end.stop()


def request_of(spans: Iterable[Span], *, service: str) -> ExportTraceServiceRequest:
    resource = Resource(attributes=attributes_of({"service.name": service}))
    scope = ScopeSpans(spans=list(spans))
    return ExportTraceServiceRequest(
        resource_spans=[ResourceSpans(resource=resource, scope_spans=[scope])]
    )


def attributes_of(values: Mapping[str, str | bool | int]) -> list[KeyValue]:
    return [KeyValue(key=key, value=_any(value)) for key, value in values.items()]


def _any(value: str | int) -> AnyValue:
    # A bool is an int.
    if isinstance(value, bool):
        return AnyValue(bool_value=value)
    return AnyValue(string_value=value) if isinstance(value, str) else AnyValue(int_value=value)


def attributes(items: Iterable[KeyValue]) -> dict[str, str]:
    """Attributes as they arrived, values as text."""
    return {
        item.key: str(getattr(item.value, item.value.WhichOneof("value") or "string_value"))
        for item in items
    }
