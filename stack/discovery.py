"""What Prometheus and Alertmanager read: their configuration, the rules, and who is to be scraped.

The files in `alerting/` are the same everywhere; where things are comes from the target files.
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from alerting import build, routing
from stack.settings import Settings

ENVIRONMENT = "local"


def targets(settings: Settings, *, has_collector: bool) -> Iterator[tuple[str, dict[str, Any]]]:
    """(job, target group) of everything that is scraped, labelled as the metrics contract says."""

    def group(job: str, service: str, *ports: int, **labels: str) -> tuple[str, dict[str, Any]]:
        return job, {
            "targets": [f"127.0.0.1:{port}" for port in ports],
            "labels": {"job": job, "service": service, "env": ENVIRONMENT, **labels},
        }

    ports = settings.ports
    first = ports["service_internal"]
    yield group("service", "api", *range(first, first + settings.replicas))
    yield group("prober", "api", ports["prober"])
    yield group("postgres", "api", ports["postgres_exporter"])
    yield group("provider", "provider", ports["provider"])
    # The canary lives in the prober's process, and answers on a path of its own.
    yield group("canary", "monitoring", ports["prober"], __metrics_path__="/canary/metrics")
    yield group("prometheus", "monitoring", ports["prometheus"])
    yield group("alertmanager", "monitoring", ports["alertmanager"])
    yield group("pager", "monitoring", ports["pager"], ports["second_channel"])
    yield group("viewer", "monitoring", ports["viewer"])
    if has_collector:
        own, of_spans = ports["collector_metrics"], ports["collector_span_metrics"]
        yield group("collector", "monitoring", own, of_spans)


def write(settings: Settings, *, has_collector: bool) -> None:
    """Write what Prometheus reads. It picks up changed targets by itself."""
    directory = settings.prometheus
    (directory / "targets").mkdir(parents=True, exist_ok=True)
    (directory / "targets" / "collector.json").unlink(missing_ok=True)
    for job, group in targets(settings, has_collector=has_collector):
        _replace(directory / "targets" / f"{job}.json", json.dumps([group], indent=1))
    build.render(directory, viewer_url=settings.url("viewer"), environment=ENVIRONMENT)


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
