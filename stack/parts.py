"""What a stack is made of: every program, how it is started, when it is ready, what it shows.

The list is data; `lifecycle` starts it. The order of the list is the order of the printed table,
the order of starting follows from `after`.
"""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from stack import discovery, postgres
from stack.credentials import Credentials
from stack.environment import service_environment
from stack.programs import COLLECTOR, Programs
from stack.readiness import Check, answers
from stack.settings import ROOT, Settings, variable

LOG_MEGABYTES = 50
"""All logs together; the rotation keeps it (architecture: the contract)."""


@dataclass(frozen=True)
class Part:
    """One program.

    is_ready: None for a task that does its work and exits 0. ports: (variable that moves it, port).
    after: parts that must be ready first. prepare: runs just before the start, and must be quick.
    """

    name: str
    command: Sequence[str]
    is_ready: Check | None
    ports: Sequence[tuple[str, int]] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    after: Sequence[str] = ()
    prepare: Callable[[], None] | None = None
    url: str = ""
    look_at: str = ""
    user: str | None = None
    directory: Path = ROOT
    stop_signal: signal.Signals = signal.SIGTERM
    log_suffix: str = "log"
    ready_seconds: float = 60.0

    @property
    def is_task(self) -> bool:
        return self.is_ready is None

    def log(self, settings: Settings) -> Path:
        return settings.logs / f"{self.name}.{self.log_suffix}"


def plan(settings: Settings, credentials: Credentials, programs: Programs) -> list[Part]:
    """Every part of the stack."""
    services = [_service(settings, credentials, number) for number in range(settings.replicas)]
    names = [part.name for part in services]
    return [
        *services,
        *([_collector(settings, programs)] if COLLECTOR in programs else []),
        _viewer(settings, has_collector=COLLECTOR in programs),
        _prometheus(settings, programs),
        _alertmanager(settings, programs),
        *_pagers(settings),
        _provider(settings),
        _postgres(settings, credentials),
        _postgres_exporter(settings, credentials, programs),
        *(_proxy(settings, name) for name in settings.proxies),
        _prober(settings, after=("seed", *names)),
        _log_rotation(settings),
        _migrations(settings, credentials),
        _seed(settings),
    ]


def _python(*arguments: str | int | Path) -> list[str]:
    return [sys.executable, "-m", *map(str, arguments)]


def _service(settings: Settings, credentials: Credentials, index: int) -> Part:
    port = settings.ports["service"] + index
    internal = settings.ports["service_internal"] + index
    return Part(
        name=f"service-{index + 1}",
        command=_python("service"),
        is_ready=answers(internal, "/readyz"),
        ports=((variable("service"), port), (variable("service_internal"), internal)),
        environment=service_environment(settings, credentials)
        | {
            "SERVICE_PORT": str(port),
            "SERVICE_INTERNAL_PORT": str(internal),
            "SERVICE_REVISION": os.environ.get("SERVICE_REVISION") or _revision(),
        },
        after=("migrations", *map(proxy_name, settings.proxies)),
        url=f"http://127.0.0.1:{port}/docs",
        look_at=f"the API; its metrics: port {internal}, /metrics",
        log_suffix="jsonl",
    )


def _collector(settings: Settings, programs: Programs) -> Part:
    ports = (
        *("otlp", "otlp_grpc"),
        *("collector_metrics", "collector_span_metrics", "collector_health"),
    )
    return Part(
        name="collector",
        command=[programs[COLLECTOR], "--config", str(ROOT / "otel-collector.yaml")],
        is_ready=answers(settings.ports["collector_health"], "/"),
        ports=[(variable(port), settings.ports[port]) for port in ports],
        environment={
            **{variable(port): str(settings.ports[port]) for port in ports},
            "COLLECTOR_DATA": str(settings.local / "collector"),
            "LOG_FILES": str(settings.logs / "*.jsonl*"),
            "TRACES_ENDPOINT": settings.url("viewer"),
            "LOGS_ENDPOINT": settings.url("viewer"),
            # The collector's own advice: a fifth above what its limiter lets it have.
            "GOMEMLIMIT": "192MiB",
        },
        url=settings.url("collector_metrics", "/metrics"),
        look_at="spans and log lines on their way to the viewer",
    )


def _viewer(settings: Settings, *, has_collector: bool) -> Part:
    port, otlp = settings.ports["viewer"], settings.ports["otlp"]
    command: list[str | int | Path] = ["stack.viewer", "--port", port]
    command += ["--db", settings.local / "viewer" / "traces.db"]
    command += ["--prometheus", settings.url("prometheus")]
    command += ["--alertmanager", settings.url("alertmanager")]
    ports = [(variable("viewer"), port)]
    if not has_collector:
        command += ["--otlp-port", otlp, "--logs", settings.logs]
        ports.append((variable("otlp"), otlp))
    return Part(
        name="viewer",
        command=_python(*command),
        is_ready=answers(port, "/healthz"),
        ports=ports,
        url=settings.url("viewer", "/"),
        look_at="dashboards, alerts with their runbooks, traces",
        log_suffix="jsonl",
    )


def _prometheus(settings: Settings, programs: Programs) -> Part:
    port = settings.ports["prometheus"]
    return Part(
        name="prometheus",
        command=[
            programs["prometheus"],
            f"--config.file={settings.prometheus / 'prometheus.yml'}",
            f"--storage.tsdb.path={settings.prometheus / 'data'}",
            # The error budget looks back 30 days; the default of 15 makes it a lie.
            "--storage.tsdb.retention.time=31d",
            "--enable-feature=exemplar-storage",
            "--web.enable-lifecycle",
            # The dead-man's beat must arrive more often than the pager's 75 s.
            "--rules.alert.resend-delay=20s",
            f"--web.listen-address=127.0.0.1:{port}",
            "--log.format=json",
        ],
        is_ready=answers(port, "/-/ready"),
        ports=((variable("prometheus"), port),),
        prepare=lambda: discovery.write(settings, has_collector=COLLECTOR in programs),
        url=f"http://127.0.0.1:{port}/alerts",
        look_at="alerts; try the query app_failures_total",
        log_suffix="jsonl",
    )


def _alertmanager(settings: Settings, programs: Programs) -> Part:
    port = settings.ports["alertmanager"]
    return Part(
        name="alertmanager",
        command=[
            programs["alertmanager"],
            f"--config.file={settings.alertmanager / 'alertmanager.yml'}",
            f"--storage.path={settings.alertmanager / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
            "--cluster.listen-address=",  # one instance: nothing but loopback, no gossip
            "--log.format=json",
        ],
        is_ready=answers(port, "/-/ready"),
        ports=((variable("alertmanager"), port),),
        prepare=lambda: discovery.write_alertmanager(settings),
        url=f"http://127.0.0.1:{port}",
        look_at="what fires, is silenced, is inhibited",
        log_suffix="jsonl",
    )


def _pagers(settings: Settings) -> list[Part]:
    look_at = {
        "pager": "pages, newest first; /pages as JSON",
        "second-channel": "pages when the pager cannot be reached",
    }
    ports = {"pager": "pager", "second-channel": "second_channel"}
    return [
        Part(
            name=name,
            command=_python(
                *("stack.pager", "--port", str(settings.ports[port]), "--name", name),
                *("--db", settings.local / "pager" / f"{name}.db"),
            ),
            is_ready=answers(settings.ports[port], "/healthz"),
            ports=((variable(port), settings.ports[port]),),
            prepare=partial(os.makedirs, settings.local / "pager", exist_ok=True),
            url=settings.url(port),
            look_at=look_at[name],
            log_suffix="jsonl",
        )
        for name, port in ports.items()
    ]


def _provider(settings: Settings) -> Part:
    port = settings.ports["provider"]
    return Part(
        name="provider",
        command=_python(
            *("stack.provider", "--port", str(port)),
            *("--state", settings.local / "provider.json"),
        ),
        is_ready=answers(port, "/healthz"),
        ports=((variable("provider"), port),),
        url=f"http://127.0.0.1:{port}/_judge",
        look_at="Google's simulator; break it by /_control",
        log_suffix="jsonl",
    )


def _postgres(settings: Settings, credentials: Credentials) -> Part:
    port, home = settings.ports["postgres"], postgres.home_of(settings.local)
    return Part(
        name="postgres",
        command=postgres.server_command(home, port),
        is_ready=partial(postgres.is_ready, home, port),
        ports=((variable("postgres"), port),),
        prepare=partial(postgres.initialise, home, credentials.postgres_superuser),
        url=f"127.0.0.1:{port}/{postgres.DATABASE}",
        look_at="`make psql` opens it",
        user=postgres.account(),
        directory=home,
        # Fast shutdown; SIGTERM would wait for every client to leave by itself.
        stop_signal=signal.SIGINT,
    )


def _postgres_exporter(settings: Settings, credentials: Credentials, programs: Programs) -> Part:
    port = settings.ports["postgres_exporter"]
    return Part(
        name="postgres-exporter",
        command=[
            programs["postgres_exporter"],
            f"--web.listen-address=127.0.0.1:{port}",
            # Debian's 0.11 asks for columns that PostgreSQL 17 has moved.
            "--no-collector.bgwriter",
            f"--extend.query-path={ROOT / 'stack' / 'postgres_exporter.yaml'}",
            "--log.format=json",
        ],
        is_ready=answers(port, "/metrics"),
        ports=((variable("postgres_exporter"), port),),
        environment={
            "DATA_SOURCE_URI": (
                f"127.0.0.1:{settings.ports['postgres']}/{postgres.DATABASE}?sslmode=disable"
            ),
            "DATA_SOURCE_USER": postgres.ROLES["monitor"],
            "DATA_SOURCE_PASS": credentials.postgres_monitor,
        },
        after=("migrations",),
        url=f"http://127.0.0.1:{port}/metrics",
        look_at="the database server's own figures",
        log_suffix="jsonl",
    )


def _prober(settings: Settings, *, after: Sequence[str]) -> Part:
    port = settings.ports["prober"]
    return Part(
        name="prober",
        command=_python("stack.prober", "--port", str(port)),
        is_ready=answers(port, "/healthz"),
        ports=((variable("prober"), port),),
        environment={
            "SERVICE_URLS": ",".join(
                f"http://127.0.0.1:{port}" for port in settings.service_ports_for_others
            ),
            "OTLP_URL": settings.url("otlp"),
            "VIEWER_URL": settings.url_for_others("viewer"),
            "PROMETHEUS_URL": settings.url_for_others("prometheus"),
            "PROBE_USER": "prober@example.com",  # of stack.demo, with a grant that is soon due
            "PROBE_PASSWORD": "firedrill-demo-prober",
        },
        after=after,
        url=f"http://127.0.0.1:{port}/metrics",
        look_at="probes every replica, every 5 s",
        log_suffix="jsonl",
    )


def proxy_name(part: str) -> str:
    return f"proxy-{part}"


def _proxy(settings: Settings, part: str) -> Part:
    """The fault proxy that others reach a part through. It lets all pass until it is told otherwise."""
    port = settings.proxy_port(part)
    control = port + 1
    target = f"127.0.0.1:{settings.ports[part]}"
    return Part(
        name=proxy_name(part),
        command=_python(
            *("stack.proxy", "--listen", port, "--target", target, "--control", control)
        ),
        is_ready=answers(control, "/"),
        ports=((variable("proxy"), port), (variable("proxy"), control)),
        url=f"http://127.0.0.1:{control}/",
        look_at=f'POST {{"mode": "blackhole"}} cuts {part} off',
    )


def _log_rotation(settings: Settings) -> Part:
    return Part(
        name="log-rotation",
        command=_python(
            *("stack.logrotation", "--directory", settings.logs),
            *("--megabytes", str(LOG_MEGABYTES)),
        ),
        is_ready=lambda: True,
        look_at=f"keeps .local/logs under {LOG_MEGABYTES} MB",
    )


def _migrations(settings: Settings, credentials: Credentials) -> Part:
    def create_roles() -> None:
        asyncio.run(postgres.create_roles(settings.ports["postgres"], credentials.roles))

    return Part(
        name="migrations",
        command=_python("service.migrations", "upgrade"),
        is_ready=None,
        environment=service_environment(settings, credentials)
        | {
            # Past any proxy: what mends a stack must not wait for what is broken in it.
            "DATABASE_PORT": str(settings.ports["postgres"]),
            "MIGRATION_PASSWORD": credentials.postgres_owner,
        },
        after=("postgres",),
        prepare=create_roles,
    )


def _seed(settings: Settings) -> Part:
    return Part(
        name="seed",
        command=_python("stack", "seed"),
        is_ready=None,
        after=("migrations", "provider", *map(proxy_name, settings.proxies)),
    )


def _revision() -> str:
    """The commit that runs, for `api_build_info`; "dev" outside a git checkout."""
    found = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"],  # noqa: S607 - git of the caller's PATH
        check=False,
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    return found.stdout.strip() or "dev"
