"""The service that a stack stands around: the demo, or the one whose firedrill.toml SERVICE names."""

import hashlib
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import takewhile
from pathlib import Path
from urllib.parse import urlsplit

from firedrill_kit.config import FILE, Config, ConfigError, read
from firedrill_kit.settings import Settings as Kit

ROOT = Path(__file__).resolve().parents[1]
PORT_MIN = 1024
LOOPBACK = frozenset({"127.0.0.1", "localhost"})


def proxy_of(part: str) -> str:
    """What the port of the fault proxy before a database or an upstream is called in settings."""
    return f"{part.replace('-', '_')}_proxy"


class SettingsError(Exception):
    """A setting that cannot be used; the text names the variable or the key and what to do."""


@dataclass(frozen=True)
class Described:
    """has_exporter: whether its database is known, so that an exporter can be started. fingerprint: of the
    file as it was read; empty for the demo.
    """

    config: Config = field(repr=False)
    file: Path = ROOT / FILE
    is_demo: bool = True
    has_exporter: bool = True
    fingerprint: str = ""

    @property
    def name(self) -> str:
        return self.config.service.name

    @property
    def environment(self) -> str:
        return self.config.service.environment

    @property
    def is_started(self) -> bool:
        """Whether we start it, and so give it its ports; else it runs already, on those of its file."""
        return self.is_demo or self.config.process is not None

    @cached_property
    def workers(self) -> int:
        """Processes of one replica, one at least; where the file does not say it, those that show metrics
        now, on the ports from the first on.
        """
        service = self.config.service
        if service.workers or self.is_started:
            return service.workers or 1
        ports = range(service.metrics_port, min(service.metrics_port + Kit.workers_max, 1 << 16))
        return max(1, sum(1 for _ in takewhile(self._is_open, ports)))

    def _is_open(self, port: int) -> bool:
        try:
            with socket.create_connection((self.host.strip("[]"), port), timeout=0.5):
                return True
        except OSError:
            return False

    @property
    def host(self) -> str:
        """Where it answers, as an address has it: IPv6 in brackets."""
        return urlsplit(self.config.service.address).netloc.removesuffix(f":{self.port}")

    @property
    def port(self) -> int:
        parts = urlsplit(self.config.service.address)
        return parts.port or (443 if parts.scheme == "https" else 80)

    @property
    def proxies(self) -> dict[str, int]:
        """Ports of the fault proxies that the file asks for, by what stands behind them."""
        database = self.config.database
        asked = {"database": database.proxy if database else None} | {
            name: one.proxy for name, one in self.config.upstream.items()
        }
        return {} if self.is_demo else {name: port for name, port in asked.items() if port}

    def make(self, command: str) -> str:
        """Return how a command is asked for about this stack."""
        return f"`make {command}`" if self.is_demo else f"`make {command} SERVICE={self.file}`"

    @property
    def local(self) -> Path:
        """Run-time directory, unless FIREDRILL_LOCAL is set."""
        own = ROOT / ".local"
        return own if self.is_demo else own / "services" / self.name.replace("/", "_")

    def ports(self) -> dict[str, int]:
        """Ports of the file that we listen on, or have the service listen on, by their names in settings."""
        if self.is_demo:
            return {}
        found = {"otlp": urlsplit(self.config.service.otlp).port or 80}
        found |= {proxy_of(part): port for part, port in self.proxies.items()}
        if self.is_started:
            found |= {"service": self.port, "service_internal": self.config.service.metrics_port}
        return found

    def taken(self) -> Iterator[tuple[str, int]]:
        """Ports on this machine that the running service has, by their keys."""
        if not self.is_started and self.host in LOOPBACK:
            first = self.config.service.metrics_port
            yield "service.address", self.port
            yield from (("service.metrics_port", first + one) for one in range(self.workers))


def read_described(environment: Mapping[str, str]) -> Described:
    """Raises SettingsError."""
    given = Path(environment.get("SERVICE") or ROOT / FILE).absolute()
    file = given / FILE if given.is_dir() else given
    try:
        config = read(file)
    except ConfigError as error:
        raise SettingsError(str(error)) from None
    if file.resolve() == ROOT / FILE:
        return Described(config)
    for key, address in (("otlp", config.service.otlp), ("address", config.service.address)):
        parts = urlsplit(address)
        is_ours = parts.hostname in LOOPBACK and (parts.port or 0) >= PORT_MIN
        if not is_ours and (key == "otlp" or config.process):
            raise SettingsError(
                f"{file}: service.{key}: nothing here listens on {address}; write"
                ' "http://127.0.0.1:PORT"'
            )
    dsn = config.database.admin_dsn if config.database else None
    return Described(
        config,
        file,
        is_demo=False,
        has_exporter=dsn is not None and bool(environment.get(dsn.name)),
        fingerprint=hashlib.sha256(file.read_bytes()).hexdigest(),
    )
