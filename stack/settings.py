"""Where one stack lives and on which ports, as the environment says.

PORT_OFFSET moves every port, <PART>_PORT one, REPLICAS sets the number of service processes and
FIREDRILL_LOCAL the run-time directory, so that a second stack can run out of the same checkout.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
REPLICAS_MAX = 8

DEFAULT_PORTS = {
    "service": 8000,
    "service_internal": 9464,
    "provider": 8090,
    "postgres": 55432,
    "prometheus": 9090,
    "alertmanager": 9093,
    "pager": 9095,
    "second_channel": 9097,
    "postgres_exporter": 9187,
    "prober": 9096,
    "otlp_grpc": 4317,
    "otlp": 4318,
    "collector_metrics": 8888,
    "collector_span_metrics": 8889,
    "collector_health": 13133,
    "viewer": 3000,
}


class SettingsError(Exception):
    """A setting that cannot be used; the text names the variable and what to do."""


@dataclass(frozen=True)
class Settings:
    """One stack. ports: by the names of DEFAULT_PORTS; replica n of the service adds n to its two."""

    local: Path
    ports: Mapping[str, int]
    replicas: int
    explicit: frozenset[str]
    """What the environment set itself: names of ports, and "replicas"."""

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

    def url(self, port: str, path: str = "") -> str:
        return f"http://127.0.0.1:{self.ports[port]}{path}"


def variable(port: str) -> str:
    """The environment variable that moves a port."""
    return f"{port.upper()}_PORT"


def read_settings(environment: Mapping[str, str] = os.environ) -> Settings:
    """Raises SettingsError."""
    offset = _integer(environment, "PORT_OFFSET", 0, low=-1023, high=65535)
    replicas = _integer(environment, "REPLICAS", 1, low=1, high=REPLICAS_MAX)
    explicit = {"replicas"} if environment.get("REPLICAS") else set()
    ports = {}
    for name, default in DEFAULT_PORTS.items():
        if environment.get(variable(name)):
            ports[name] = _integer(environment, variable(name), default, low=1024, high=65535)
        else:
            ports[name] = default + offset
        if environment.get(variable(name)) or environment.get("PORT_OFFSET"):
            explicit.add(name)
    _check_ports(ports, replicas)
    local = Path(environment.get("FIREDRILL_LOCAL") or ROOT / ".local").absolute()
    return Settings(local, ports, replicas, frozenset(explicit))


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


def _check_ports(ports: Mapping[str, int], replicas: int) -> None:
    used: dict[int, str] = {}
    for name, first in ports.items():
        count = replicas if name in {"service", "service_internal"} else 1
        for port in range(first, first + count):
            if not 1024 <= port <= 65535:
                raise SettingsError(
                    f"PORT_OFFSET moves {variable(name)} to {port}: ports are 1024 to 65535"
                )
            if port in used:
                raise SettingsError(
                    f"{variable(name)} and {variable(used[port])} both ask for port {port}"
                )
            used[port] = name
