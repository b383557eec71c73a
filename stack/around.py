"""What stands around any service: every program from its spans and samples to the pager."""

import os
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from stack import discovery
from stack.described import proxy_of
from stack.part import Part, python
from stack.programs import CACHE, CACHE_EXPORTER, COLLECTOR, Programs
from stack.readiness import answers
from stack.settings import ROOT, Settings, variable

LOG_MEGABYTES = 50
"""All logs together; the rotation keeps it (docs/architecture.md)."""


def watchers(settings: Settings, programs: Programs) -> list[Part]:
    """From the spans and samples to the pager, in the order of the table."""
    return [
        *([_collector(settings, programs)] if COLLECTOR in programs else []),
        *([] if settings.service.is_demo else [_dashboards(settings, programs)]),
        _viewer(settings, has_collector=COLLECTOR in programs),
        _prometheus(settings, programs),
        _alertmanager(settings, programs),
        *_pagers(settings),
    ]


def _collector(settings: Settings, programs: Programs) -> Part:
    ports = (
        *("otlp", "otlp_grpc"),
        *("collector_metrics", "collector_span_metrics", "collector_health"),
    )
    return Part(
        name="collector",
        command=[programs[COLLECTOR], "--config", str(ROOT / "otel-collector.yaml")],
        is_ready=answers(settings.ports["collector_health"], "/"),
        ports=[(settings.moved_by(port), settings.ports[port]) for port in ports],
        environment={
            **{variable(port): str(settings.ports[port]) for port in ports},
            "COLLECTOR_DATA": str(settings.local / "collector"),
            "LOG_FILES": str(settings.logs / "*.jsonl*"),
            "TRACES_ENDPOINT": settings.url("viewer"),
            "LOGS_ENDPOINT": settings.url("viewer"),
            # The collector's own advice: a fifth above what its limiter lets it have.
            "GOMEMLIMIT": "192MiB",
            "SERVICE_NAME": settings.service.name,
            "ENVIRONMENT": settings.service.environment,
        },
        url=settings.url("collector_metrics", "/metrics"),
        look_at="spans and log lines on their way to the viewer",
    )


def _dashboards(settings: Settings, programs: Programs) -> Part:
    """A task: those of the demo are committed, those of another service are made of its file."""
    ruled = discovery.ruled(settings, has_collector=COLLECTOR in programs)
    command = ("dashboards.build", "--service", settings.service.file)
    features = ("--features", ",".join(sorted(ruled.features)))
    return Part(
        name="dashboards",
        command=python(*command, *features, "--out", settings.local / "dashboards"),
        is_ready=None,
    )


def _viewer(settings: Settings, *, has_collector: bool) -> Part:
    port, otlp = settings.ports["viewer"], settings.ports["otlp"]
    command: list[str | int | Path] = ["stack.viewer", "--port", port]
    command += ["--db", settings.local / "viewer" / "traces.db"]
    command += ["--prometheus", settings.url("prometheus")]
    command += ["--alertmanager", settings.url("alertmanager")]
    command += ["--rules", settings.prometheus / "rules"]
    if not settings.service.is_demo:
        command += ["--dashboards", settings.local / "dashboards"]
        command += ["--service", settings.service.file]
    ports = [(variable("viewer"), port)]
    if not has_collector:
        command += ["--otlp-port", otlp, "--logs", settings.logs]
        ports.append((settings.moved_by("otlp"), otlp))
    return Part(
        name="viewer",
        command=python(*command),
        is_ready=answers(port, "/healthz"),
        ports=ports,
        after=() if settings.service.is_demo else ("dashboards",),
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
        prepare=lambda: discovery.write(
            settings,
            has_collector=COLLECTOR in programs,
            has_cache_exporter=settings.service.is_demo
            and {CACHE, CACHE_EXPORTER} <= set(programs),
        ),
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
            command=python(
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


def postgres_exporter(
    settings: Settings,
    programs: Programs,
    *,
    environment: Mapping[str, str],
    after: Sequence[str] = (),
) -> Part:
    """environment: where the database is, and as whom it is asked."""
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
        environment=environment,
        after=after,
        url=f"http://127.0.0.1:{port}/metrics",
        look_at="the database server's own figures",
        log_suffix="jsonl",
    )


def prober(
    settings: Settings,
    *,
    environment: Mapping[str, str] | None = None,
    after: Sequence[str] = (),
) -> Part:
    """environment: what the file of the service asks for beyond our own. The canary is in it as well."""
    port = settings.ports["prober"]
    return Part(
        name="prober",
        command=python("stack.prober", "--port", port, "--service", settings.service.file),
        is_ready=answers(port, "/healthz"),
        ports=((variable("prober"), port),),
        environment={
            "SERVICE_URLS": ",".join(settings.service_urls_for_others),
            "OTLP_URL": settings.url("otlp"),
            "VIEWER_URL": settings.url_for_others("viewer"),
            "PROMETHEUS_URL": settings.url_for_others("prometheus"),
        }
        | dict(environment or {}),
        after=after,
        url=f"http://127.0.0.1:{port}/metrics",
        look_at=(
            "probes every replica, every 5 s"
            if settings.service.config.probe.routes
            else "the canary; no [probe] routes to ask for"
        ),
        log_suffix="jsonl",
    )


def proxy_name(part: str) -> str:
    return f"proxy-{part}"


def proxy(settings: Settings, part: str, target: str) -> Part:
    """The fault proxy that others reach a part through. It lets all pass until it is set otherwise.

    target: HOST:PORT of the part.
    """
    port, control = settings.proxy_port(part), settings.proxy_control_port(part)
    moved_by = variable("proxy" if settings.service.is_demo else proxy_of(part))
    return Part(
        name=proxy_name(part),
        command=python(
            *("stack.proxy", "--listen", port, "--target", target, "--control", control)
        ),
        is_ready=answers(control, "/"),
        ports=((moved_by, port), (variable("proxy"), control)),
        url=f"http://127.0.0.1:{control}/",
        look_at=f'POST {{"mode": "blackhole"}} cuts {part} off',
    )


def log_rotation(settings: Settings) -> Part:
    return Part(
        name="log-rotation",
        command=python(
            *("stack.logrotation", "--directory", settings.logs),
            *("--megabytes", str(LOG_MEGABYTES)),
        ),
        is_ready=lambda: True,
        look_at=f"keeps .local/logs under {LOG_MEGABYTES} MB",
    )
