"""Every metric that rules may use: the service's own registry and the declared ones of others."""

from dataclasses import dataclass
from typing import Any

from prometheus_client import Counter, Gauge, Histogram

from alerting.catalogue import FOLDER
from alerting.document import read_yaml
from firedrill_kit import metrics as core_metrics
from firedrill_kit.telemetry.collectors import CallbackGauge
from service import failures, metrics


@dataclass(frozen=True, slots=True)
class Metric:
    name: str
    kind: str
    labels: frozenset[str]
    job: str


def instruments() -> list[Counter | Gauge | Histogram | CallbackGauge]:
    """Return every instrument of the kit and of the service."""
    named = {**vars(core_metrics), **vars(metrics)}
    kinds = (Counter, Gauge, Histogram, CallbackGauge)
    return [one for one in named.values() if isinstance(one, kinds)]


def service_metrics() -> dict[str, Metric]:
    """Return the series names of the service as Prometheus sees them."""
    found: dict[str, Metric] = {}
    for instrument in instruments():
        if isinstance(instrument, CallbackGauge):
            found[instrument.name] = Metric(
                instrument.name, "gauge", frozenset(instrument.labelnames), "service"
            )
            continue
        labels = frozenset(instrument._labelnames)
        if isinstance(instrument, Counter):
            found[f"{instrument._name}_total"] = Metric(
                f"{instrument._name}_total", "counter", labels, "service"
            )
        elif isinstance(instrument, Histogram):
            found |= _histogram(instrument._name, labels, "service")
        else:
            found[instrument._name] = Metric(instrument._name, "gauge", labels, "service")
    return found


def foreign_metrics() -> dict[str, Metric]:
    """Return what alerting/foreign_metrics.yaml declares."""
    found: dict[str, Metric] = {}
    declared: dict[str, dict[str, Any]] = read_yaml(FOLDER / "foreign_metrics.yaml")
    for name, about in declared.items():
        labels = frozenset(about["labels"])
        if about.get("type") == "histogram":
            found |= _histogram(name, labels, about["job"])
        else:
            kind = "counter" if name.endswith("_total") else "gauge"
            found[name] = Metric(name, kind, labels, about["job"])
    return found


def all_metrics() -> dict[str, Metric]:
    return {**foreign_metrics(), **service_metrics()}


def _histogram(name: str, labels: frozenset[str], job: str) -> dict[str, Metric]:
    return {
        f"{name}_bucket": Metric(f"{name}_bucket", "counter", labels | {"le"}, job),
        f"{name}_count": Metric(f"{name}_count", "counter", labels, job),
        f"{name}_sum": Metric(f"{name}_sum", "counter", labels, job),
    }


def closed_values() -> dict[tuple[str, str], frozenset[str]]:
    """Return (metric, label) → the values it can have, where the set is closed."""
    closed: dict[tuple[str, str], frozenset[str]] = {}
    for instrument, labels in (
        *core_metrics.KNOWN,
        *core_metrics.of_pool(metrics.POOL),
        *metrics._KNOWN,
    ):
        suffix = "_total" if isinstance(instrument, Counter) else ""
        for label, values in labels.items():
            closed[f"{instrument._name}{suffix}", label] = frozenset(values)
    closed["app_failures_total", "code"] = frozenset(failures.MODES)
    return closed
