"""What Prometheus and Alertmanager read: their configuration, the rules, and who is to be scraped.

The files in `alerting/` are the same everywhere; where things are comes from the target files.
"""

import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from alerting import build, routing
from alerting.service import DEMO, Service, service_of
from stack.settings import Settings


def targets(
    settings: Settings, *, has_collector: bool, has_cache_exporter: bool = False
) -> Iterator[tuple[str, dict[str, Any]]]:
    """(job, target group) of everything that is scraped, labelled as the metrics contract says."""
    name, environment = settings.service.name, settings.service.environment

    def group(job: str, service: str, *ports: int, **labels: str) -> tuple[str, dict[str, Any]]:
        return job, {
            "targets": [f"127.0.0.1:{port}" for port in ports],
            "labels": {"job": job, "service": service, "env": environment, **labels},
        }

    ports = settings.ports
    job, of_service = group("service", name)
    yield job, of_service | {"targets": settings.service_targets}
    if settings.service.config.probe.routes:
        yield group("prober", name, ports["prober"])
    if settings.service.has_exporter:
        yield group("postgres", name, ports["postgres_exporter"])
    if settings.service.is_demo:
        yield group("provider", "provider", ports["provider"])
    if has_cache_exporter:
        yield group("cache", name, ports["cache_exporter"])
    # The canary lives in the prober's process, and answers on a path of its own.
    yield group("canary", "monitoring", ports["prober"], __metrics_path__="/canary/metrics")
    yield group("prometheus", "monitoring", ports["prometheus"])
    yield group("alertmanager", "monitoring", ports["alertmanager"])
    yield group("pager", "monitoring", ports["pager"], ports["second_channel"])
    yield group("viewer", "monitoring", ports["viewer"])
    if has_collector:
        own, of_spans = ports["collector_metrics"], ports["collector_span_metrics"]
        yield group("collector", "monitoring", own, of_spans)


def write(settings: Settings, *, has_collector: bool, has_cache_exporter: bool = False) -> None:
    """Write what Prometheus reads. It picks up changed targets by itself."""
    directory = settings.prometheus
    (directory / "targets").mkdir(parents=True, exist_ok=True)
    groups = dict(
        targets(settings, has_collector=has_collector, has_cache_exporter=has_cache_exporter)
    )
    for job in {"cache", "collector", "postgres", "prober"} - groups.keys():
        (directory / "targets" / f"{job}.json").unlink(missing_ok=True)
    for job, group in groups.items():
        _replace(directory / "targets" / f"{job}.json", json.dumps([group], indent=1))
    links = settings.service.config.links
    own = "dashboards" in links.model_fields_set and not settings.service.is_demo
    build.render(
        directory,
        viewer_url=links.dashboards if own else settings.url("viewer"),
        runbooks_url=links.runbooks,
        service=ruled(settings, has_collector=has_collector),
    )


def ruled(settings: Settings, *, has_collector: bool) -> Service:
    """The service of the rules, without what this stack does not have around it."""
    if settings.service.is_demo:
        return DEMO
    service = service_of(settings.service.config)
    features = service.features | ({"collector"} if has_collector else set())
    if not settings.service.has_exporter:
        features -= {"postgres_exporter"}
    return replace(service, features=features)


def write_alertmanager(settings: Settings) -> None:
    """Write Alertmanager's configuration, with receivers as the environment asks."""
    settings.alertmanager.mkdir(parents=True, exist_ok=True)
    routing.render(
        settings.alertmanager,
        pager_url=settings.url("pager"),
        second_channel_url=settings.url("second_channel"),
        environ=os.environ,
    )


def _replace(file: Path, content: str) -> None:
    """Write at once, so that a reader never sees half a file."""
    unfinished = file.with_name(f".{file.name}.unfinished")
    unfinished.write_text(content + "\n")
    unfinished.replace(file)
