"""Where one stack lives and on which ports, as the environment says.

SERVICE names the firedrill.toml of the service that it stands around, without it the demo. PORT_OFFSET
moves every port, <PART>_PORT one, REPLICAS sets the number of service processes, FAULT_PROXIES says before
which parts a fault proxy stands, and FIREDRILL_LOCAL the run-time directory, so that a second stack can run
out of the same checkout. The ports of a service that runs already are those of its file, and never moved.
"""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from stack.described import ROOT, Described, SettingsError, proxy_of, read_described

__all__ = ["ROOT", "Settings", "SettingsError", "read_settings", "variable"]

REPLICAS_MAX = 8

# No two of these agree in their last two digits, replicas and proxies included: stacks whose offsets are
# multiples of 100 never meet. All are below 32768, where Linux begins to give ports to clients.
DEFAULT_PORTS = {
    "service": 8000,
    "service_internal": 9464,
    "provider": 8091,
    "postgres": 15432,
    "prometheus": 9090,
    "alertmanager": 9093,
    "pager": 9095,
    "second_channel": 9097,
    "postgres_exporter": 9187,
    "cache": 15379,
    "cache_exporter": 9121,
    "prober": 9096,
    "otlp_grpc": 4317,
    "otlp": 4318,
    "collector_metrics": 8888,
    "collector_span_metrics": 8889,
    "collector_health": 13133,
    "viewer": 3030,
    "proxy": 9940,
}
OF_THE_SERVICE = ("service", "service_internal")
OF_THE_DEMO = ("provider", "postgres", "cache", "cache_exporter")
PROXIED = ("service", "postgres", "provider", "prometheus", "viewer", "cache")
"""What a fault proxy can stand before. Each has two ports of its own from `proxy` on: traffic, control."""
NOT_FOR_BROWSERS = ("postgres", "cache", "otlp", "otlp_grpc", "proxy")
"""What the names of their ports end with."""
BLOCKED_BY_BROWSERS = frozenset(
    {
        *(1719, 1720, 1723, 2049, 3659, 4045, 4190, 5060, 5061, 6000, 6566),
        *(6665, 6666, 6667, 6668, 6669, 6679, 6697, 10080),
    }
)
"""The ports above 1023 that browsers refuse: https://fetch.spec.whatwg.org/#port-blocking."""


@dataclass(frozen=True)
class Settings:
    """One stack. ports: by the names of DEFAULT_PORTS, without those that it does not take; replica n of
    the service adds n to its first, and its workers to its second.

    proxies: what is reached through a fault proxy: those of PROXIED, or what the file of another service
    says.
    """

    service: Described
    local: Path
    ports: Mapping[str, int]
    replicas: int
    explicit: frozenset[str]
    """What the environment set itself: names of ports, "replicas" and "proxies"."""
    proxies: tuple[str, ...] = ()

    @property
    def logs(self) -> Path:
        return self.local / "logs"

    @property
    def state_file(self) -> Path:
        return self.local / "state.json"

    @property
    def lock_file(self) -> Path:
        return self.local / "lock"

    @property
    def prometheus(self) -> Path:
        """Directory of the configuration that Prometheus reads, its targets and its data."""
        return self.local / "prometheus"

    @property
    def alertmanager(self) -> Path:
        return self.local / "alertmanager"

    def every_port(self) -> Iterator[tuple[str, int]]:
        """Each port that the stack may take, by the name whose variable moves it."""
        workers = self.replicas * self.service.workers
        spans = {"service": self.replicas, "service_internal": workers}
        if self.proxies:
            spans["proxy"] = 2 * len(PROXIED) if self.service.is_demo else len(self.proxies)
        for name, first in self.ports.items():
            yield from ((name, first + index) for index in range(spans.get(name, 1)))

    def moved_by(self, port: str) -> str:
        """The variable that moves a port, or the key of a file that fixes it: spans go there already."""
        is_fixed = port == "otlp" and not self.service.is_started
        return "service.otlp" if is_fixed else variable(port)

    def url(self, port: str, path: str = "") -> str:
        return f"http://127.0.0.1:{self.ports[port]}{path}"

    def proxy_port(self, part: str) -> int:
        """Port of the traffic to a part."""
        if self.service.is_demo:
            return self.ports["proxy"] + 2 * PROXIED.index(part)
        return self.ports[proxy_of(part)]

    def proxy_control_port(self, part: str) -> int:
        """Port where the proxy before a part is set."""
        if self.service.is_demo:
            return self.proxy_port(part) + 1
        return self.ports["proxy"] + self.proxies.index(part)

    def port_for_others(self, part: str) -> int:
        """Where other parts and callers reach one: its own port, or that of the proxy before it."""
        is_behind_one = self.service.is_demo and part in self.proxies
        return self.proxy_port(part) if is_behind_one else self.ports[part]

    @property
    def service_urls_for_others(self) -> list[str]:
        """Where the service is asked: every replica that we start, or the one address of its file."""
        if not self.service.is_started:
            return [self.service.config.service.address]
        return [f"http://127.0.0.1:{port}" for port in self.service_ports_for_others]

    @property
    def service_targets(self) -> list[str]:
        """Where each worker answers `/metrics`, as HOST:PORT."""
        host = "127.0.0.1" if self.service.is_started else self.service.host
        first = self.ports.get("service_internal", self.service.config.service.metrics_port)
        count = self.replicas * self.service.workers
        return [f"{host}:{port}" for port in range(first, first + count)]

    @property
    def service_ports_for_others(self) -> list[int]:
        """URLs of the replicas; a proxy stands before the first one only."""
        first = self.ports["service"]
        return [self.port_for_others("service"), *range(first + 1, first + self.replicas)]

    def url_for_others(self, part: str) -> str:
        return f"http://127.0.0.1:{self.port_for_others(part)}"


def variable(port: str) -> str:
    """The environment variable that moves a port."""
    return f"{port.upper()}_PORT"


def read_settings(environment: Mapping[str, str] = os.environ) -> Settings:
    """Raises SettingsError."""
    service = read_described(environment)
    _check_kind(service, environment)
    offset = _integer(environment, "PORT_OFFSET", 0, low=-1023, high=65535)
    process = service.config.process
    replicas = process.replicas if process else 1
    replicas = _integer(environment, "REPLICAS", replicas, low=1, high=REPLICAS_MAX)
    proxies = _proxies(environment.get("FAULT_PROXIES", "")) or tuple(service.proxies)
    explicit = {
        name
        for name, text in (("replicas", "REPLICAS"), ("proxies", "FAULT_PROXIES"))
        if environment.get(text)
    }
    ports = {}
    for name, default in _default_ports(service).items():
        if environment.get(variable(name)):
            ports[name] = _integer(environment, variable(name), default, low=1024, high=65535)
        else:
            # A service that runs already is configured with these.
            is_fixed = not service.is_started and name in service.ports()
            ports[name] = default if is_fixed else default + offset
        if environment.get(variable(name)) or environment.get("PORT_OFFSET"):
            explicit.add(name)
    local = Path(environment.get("FIREDRILL_LOCAL") or service.local).absolute()
    settings = Settings(service, local, ports, replicas, frozenset(explicit), proxies)
    _check_ports(settings)
    return settings


def _default_ports(service: Described) -> dict[str, int]:
    ports = DEFAULT_PORTS | service.ports()
    not_taken = () if service.is_demo else OF_THE_DEMO
    not_ours = () if service.is_started else OF_THE_SERVICE
    return {name: port for name, port in ports.items() if name not in (*not_taken, *not_ours)}


def _check_kind(service: Described, environment: Mapping[str, str]) -> None:
    """Raises SettingsError for a variable that says nothing to a stack of this kind."""
    if environment.get("REPLICAS") and not service.is_started:
        raise SettingsError(
            f"REPLICAS: nothing here starts the service: add [process] to {service.file}"
        )
    if environment.get("FAULT_PROXIES") and not service.is_demo:
        raise SettingsError("FAULT_PROXIES are of the demo's parts: leave it out, or SERVICE")


def _proxies(text: str) -> tuple[str, ...]:
    asked = {name.strip() for name in text.split(",")} - {""}
    if unknown := sorted(asked - set(PROXIED)):
        raise SettingsError(
            f"FAULT_PROXIES: no proxy stands before {', '.join(unknown)}; give some of"
            f" {', '.join(PROXIED)}, with commas between"
        )
    return tuple(name for name in PROXIED if name in asked)


def _integer(
    environment: Mapping[str, str], name: str, default: int, *, low: int, high: int
) -> int:
    text = environment.get(name, "").strip()
    try:
        value = int(text or default)
    except ValueError:
        value = low - 1
    if not low <= value <= high:
        raise SettingsError(f"{name}={text!r}: give a whole number from {low} to {high}")
    return value


def _check_ports(settings: Settings) -> None:
    used = {port: key for key, port in settings.service.taken()}
    for name, port in settings.every_port():
        if not 1024 <= port <= 65535:
            raise SettingsError(
                f"PORT_OFFSET moves {variable(name)} to {port}: ports are 1024 to 65535"
            )
        if port in BLOCKED_BY_BROWSERS and not name.endswith(NOT_FOR_BROWSERS):
            raise SettingsError(
                f"{variable(name)} would be {port}, which browsers refuse to open: give another"
            )
        if port in used:
            raise SettingsError(
                f"{settings.moved_by(name)} and {used[port]} both ask for port {port}"
            )
        used[port] = settings.moved_by(name)
