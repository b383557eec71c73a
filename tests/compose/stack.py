"""docker-compose.yml with the override of the stand-in, and the commands for it."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from stack.settings import ROOT
from tests.compose import images
from tests.compose.engine import Unusable, run
from tests.compose.signal_check import Addresses

PROJECT = "firedrill-stand-in"
STARTED = (
    *("proxy", "prober", "prometheus", "alertmanager", "pager", "second-channel"),
    *("postgres-exporter", "log-rotation", "runbooks"),
)
"""Compose adds what these depend on."""
PORTS: Mapping[str, int] = {
    "SERVICE": 8000,
    "PROVIDER": 8091,
    "PROMETHEUS": 9090,
    "ALERTMANAGER": 9093,
    "PAGER": 9095,
    "SECOND_CHANNEL": 9097,
    "RUNBOOKS": 9098,
    "OTLP_GRPC": 4317,
    "OTLP": 4318,
    "VIEWER": 3000,
    "FAULT_PROXY": 6544,
    "LOCUST": 8089,
}
WORKERS = 2
RATE, DURATION_SECONDS = 6, 15
"""Requests a second of the load's check, and for how long: that it works, not what is taken."""
VIEWER = "http://127.0.0.1:3000"
"""The native viewer listens on loopback: it shares the collector's network namespace."""
RELAY_PORT = 3001
"""From outside the namespace: a relay, of which loopback alone is published."""
_VIEWER_COMMAND = ("python", "-m", "stack.viewer", "--db", "/tmp/traces.db", "--port")
_SINCE_ALERTMANAGER_0_30 = "--dispatch.start-delay=1m"


class Stack:
    """ports: offset of the published ones."""

    def __init__(self, work: Path, *, offset: int) -> None:
        self.with_collector = (
            images.collector() is not None and (ROOT / "otel-collector.yaml").exists()
        )
        self._ports = {name: port + offset for name, port in PORTS.items()}
        self._file = work / "override.yml"
        self._file.write_text(yaml.safe_dump(self._override()))
        self._environment = {
            "COMPOSE_PROFILES": "load,drill",
            "PYTHON_IMAGE": f"{images.PREFIX}/python",
            **{
                variable: f"{images.PREFIX}/{image}"
                for variable, image in images.IMAGE_VARIABLES.items()
            },
            **{f"{name}_PORT": str(port) for name, port in self._ports.items()},
        }
        self.addresses = Addresses(
            service=self.url("SERVICE"),
            prometheus=self.url("PROMETHEUS"),
            pager=self.url("PAGER"),
        )

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self._ports[name]}"

    @property
    def matrix_environment(self) -> dict[str, str]:
        """Where tests/stack/test_signal_matrix.py finds this stack. Raises Unusable."""
        volume = ("docker", "volume", "inspect", "--format", "{{.Mountpoint}}", f"{PROJECT}_logs")
        return {
            "MATRIX_SERVICE_URL": self.url("SERVICE"),
            "MATRIX_PROMETHEUS_URL": self.url("PROMETHEUS"),
            "MATRIX_TRACES_URL": self.url("VIEWER"),
            "MATRIX_PROVIDER_URL": self.url("PROVIDER"),
            "MATRIX_LOGS": run(*volume).strip(),
        }

    def _override(self) -> dict[str, object]:
        compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
        vouched = [
            word
            for word in compose["prober"]["healthcheck"]["test"]
            if not any(name in word for name in ("tempo:", "loki:"))
            and (self.with_collector or "otel-collector" not in word)
        ]
        alertmanager = [
            flag for flag in compose["alertmanager"]["command"] if flag != _SINCE_ALERTMANAGER_0_30
        ]
        build = {"args": {"BUILD_IMAGE": f"{images.PREFIX}/build"}}
        beside_the_collector = {
            "image": compose["service-1"]["image"],
            "network_mode": "service:otel-collector",
            "read_only": True,
            "tmpfs": ["/tmp"],
        }
        # The viewer is no part of the image: its charts' library comes from this machine.
        libraries = [f"{folder}:/opt/{folder.name}:ro" for folder in images.folders_of("plotly")]
        relay = ("--listen", RELAY_PORT, "--control", RELAY_PORT + 1)
        return {
            "services": {
                "secrets": {"build": build},
                "prober": {"healthcheck": {"test": vouched}},
                "alertmanager": {"command": alertmanager},
                # In place of Tempo and Loki: what the collector sends can be read back from it.
                "otel-collector": {
                    "environment": dict.fromkeys(("TRACES_ENDPOINT", "LOGS_ENDPOINT"), VIEWER),
                    "ports": [f"127.0.0.1:{self._ports['VIEWER']}:{RELAY_PORT}"],
                },
                "viewer": beside_the_collector
                | {
                    "command": [*_VIEWER_COMMAND, urlsplit(VIEWER).netloc.split(":")[1]],
                    "environment": {"PYTHONPATH": "/opt"},
                    "volumes": libraries,
                    "healthcheck": _asks(f"{VIEWER}/healthz"),
                },
                "viewer-relay": beside_the_collector
                | {
                    "command": [
                        *("python", "-m", "stack.proxy", "--host", "0.0.0.0"),  # noqa: S104
                        *("--target", urlsplit(VIEWER).netloc, *map(str, relay)),
                    ],
                    "healthcheck": _asks(f"http://127.0.0.1:{RELAY_PORT}/healthz"),
                },
                # The web page's place is taken by a run that ends by itself.
                "load-master": {
                    "build": build,
                    "restart": "no",
                    "command": [
                        *(*compose["load-master"]["command"], "--headless", "--only-summary"),
                        *("--users", str(WORKERS), "--spawn-rate", str(WORKERS)),
                        *("--expect-workers", str(WORKERS), "--rate", str(RATE)),
                        *("--duration", str(DURATION_SECONDS), "--stop-timeout", "30"),
                    ],
                },
                "load-worker": {"build": build, "restart": "no"},
            }
        }

    def compose(self, *arguments: str) -> str:
        """Raises Unusable."""
        command = ["docker-compose"] if shutil.which("docker-compose") else ["docker", "compose"]
        return run(
            *(*command, "-f", str(ROOT / "docker-compose.yml"), "-f", str(self._file)),
            *("--project-directory", str(ROOT), "-p", PROJECT),
            *arguments,
            environment=self._environment,
        )

    def config_of_v2(self, figures: dict[str, Any]) -> str:
        """What Compose v2 says of the file as it is, where the plug-in is installed. Raises Unusable."""
        try:
            version = run("docker", "compose", "version", "--short").strip()
        except Unusable:
            return "not installed: not tried"
        file = str(ROOT / "docker-compose.yml")
        asked = ("docker", "compose", "-f", file, "--profile", "*", "config", "--quiet")
        if complaints := run(*asked).strip():
            raise Unusable(complaints)
        figures["compose_v2"] = version
        return f"{version}: `docker compose config -q` has nothing to say"

    @property
    def services(self) -> tuple[str, ...]:
        more = ("otel-collector", "viewer", "viewer-relay") if self.with_collector else ()
        return (*STARTED, *more)

    def container(self, service: str) -> str:
        """Its id; of a part that was scaled, of one. Raises Unusable."""
        found = self._containers(f"label=com.docker.compose.service={service}")
        if not found:
            raise Unusable(f"{service} has no container")
        return found[0]

    def states(self) -> dict[str, dict[str, Any]]:
        """Part → its state, as `docker inspect` says it. Raises Unusable."""
        label = 'index .Config.Labels "com.docker.compose.service"'
        asked = ("docker", "inspect", "--format", f"{{{{{label}}}}} {{{{json .State}}}}")
        containers = self._containers()
        lines = run(*asked, *containers).splitlines() if containers else []
        return {
            name: json.loads(state) for name, _, state in (line.partition(" ") for line in lines)
        }

    def unhealthy(self) -> list[str]:
        """Started parts that are not healthy, or not running where they have no check."""
        found = []
        states = self.states()
        for service in (*self.services, "service-1", "service-2", "postgres", "provider"):
            state = states.get(service, {})
            is_checked = "Health" in state
            status = state["Health"]["Status"] if is_checked else state.get("Status", "absent")
            if status != ("healthy" if is_checked else "running"):
                found.append(f"{service}: {status}")
        return found

    def _containers(self, *filters: str) -> list[str]:
        """Compose would say it as well, but takes a second of the processor each time."""
        of_project = f"label=com.docker.compose.project={PROJECT}"
        words = [word for one in (of_project, *filters) for word in ("--filter", one)]
        return run("docker", "ps", "--all", "--quiet", "--no-trunc", *words).split()


def _asks(url: str) -> dict[str, object]:
    return {"test": ["CMD", "python", "-m", "deploy.image.healthcheck", url], "interval": "5s"}
