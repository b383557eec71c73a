"""The OpenTelemetry Semantic Conventions, as far as this project uses them.

`conventions.yaml` is an extract of the public registry: a name that is new is added there with any
value, and `python -m tests.contracts.conventions CHECKOUT` fills in what the registry says of every
name. CHECKOUT: https://github.com/open-telemetry/semantic-conventions at the tag of the version that the
pinned opentelemetry packages name; a test compares the two.
"""

import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from firedrill_kit.telemetry.redaction import OWN_NAMESPACE

EXTRACT = Path(__file__).with_name("conventions.yaml")

_TYPES: dict[str, type | tuple[type, ...]] = {
    "string": str,
    "int": int,
    "double": (int, float),
    "boolean": bool,
    "string[]": tuple,
}
_SUFFIXES = {"s": "_seconds", "By": "_bytes"}


@dataclass(frozen=True)
class Signal:
    """A span or a metric of the registry: what it must have, and what else it may have."""

    required: frozenset[str]
    others: frozenset[str]
    instrument: str = ""
    unit: str = ""

    @property
    def attributes(self) -> frozenset[str]:
        return self.required | self.others


@dataclass(frozen=True)
class Conventions:
    schema_url: str
    attributes: dict[str, str]
    """Their types by name."""
    spans: dict[str, Signal]
    metrics: dict[str, Signal]
    namespaces: frozenset[str]
    """First words of everything in the registry: names of our own do not begin with one."""

    def faults_of(self, name: str, value: object) -> list[str]:
        """Return what is wrong with an attribute, empty when it is the registry's or our own."""
        if name.startswith(OWN_NAMESPACE):
            return []
        if name not in self.attributes:
            return [f"{name} is neither in the registry nor {OWN_NAMESPACE}*"]
        kind = self.attributes[name]
        is_right = isinstance(value, _TYPES[kind]) and (kind == "boolean") == isinstance(
            value, bool
        )
        return [] if is_right else [f"{name} is {value!r}, the registry wants {kind}"]


def prometheus_name(name: str, signal: Signal) -> str:
    """Return how Prometheus spells a metric of the registry."""
    total = "_total" if signal.instrument == "counter" else ""
    return f"{label(name)}{_SUFFIXES.get(signal.unit, '')}{total}"


def label(attribute: str) -> str:
    """Return how Prometheus spells an attribute."""
    return attribute.replace(".", "_")


OWN_LABELS = frozenset(
    {
        "actual",
        "answer",
        "breaker",
        "change",
        "class",
        "client_version",
        "code",
        "drift_kind",
        "drift_object",
        "drill",
        "endpoint",
        "expected",
        "field",
        "group",
        "level",
        "mode",
        "operation",
        "outcome",
        "peer",
        "phase",
        "provider",
        "purpose",
        "reason",
        "receiver",
        "replica",
        "result",
        "revision",
        "scenario",
        "scope",
        "signal",
        "stage",
        "state",
        "status",
        "to",
        "token_format",
        "version",
        "where",
        "why",
    }
)
"""Labels of our own metrics without a namespace: Prometheus' convention, where a label is read together
with its metric's name, and what rules, silences and dashboards of users select by."""

KEPT_METRICS = frozenset(
    {
        "app_failures_total",
        "db_client_connection_oldest_checkout_seconds",
        "db_client_connection_refused_total",
        "db_client_connection_held",
        "db_connect_failures_total",
        "db_connect_up",
        "db_retries_total",
        "db_round_trip_seconds",
        "db_transactions_total",
        "db_up",
        "event_loop_lag_seconds",
        "http_client_disconnects_total",
        "http_request_validation_errors_total",
        "http_server_admitted_requests",
        "log_records_total",
        "telemetry_canary_last_success_timestamp_seconds",
        "telemetry_errors_total",
        "telemetry_queue_capacity_spans",
        "telemetry_queue_spans",
        "telemetry_spans_total",
    }
)
"""Metrics of our own whose first word is a namespace of the registry. A new one gets another name; these
keep theirs, because rules and dashboards outside of this repository know them."""

FOREIGN_LABELS = frozenset({"le", "quantile", "job", "instance", "service", "env"}) | {
    "exported_job",
    "exported_instance",
}
"""Prometheus' own, those of the targets, which discovery adds, and what a target said of the same name."""


def faults_of_labels(name: str, labels: frozenset[str]) -> list[str]:
    """Return what is wrong with the labels of a metric, empty when nothing is.

    name: without the suffix of a histogram's series.
    """
    registered = {label(attribute) for attribute in conventions().attributes}
    signal = REGISTERED_METRICS.get(name)
    known = registered if signal else registered | OWN_LABELS
    missing = {label(attribute) for attribute in signal.required} - labels if signal else set()
    return [
        *(f"{name} lacks {one}" for one in sorted(missing)),
        *(f"{name} has {one}" for one in sorted(labels - known - FOREIGN_LABELS)),
    ]


@cache
def conventions() -> Conventions:
    content = yaml.safe_load(EXTRACT.read_text())
    signals = {
        kind: {
            name: Signal(
                frozenset(found["required"]),
                frozenset(found["others"]),
                found.get("instrument", ""),
                found.get("unit", ""),
            )
            for name, found in content[kind].items()
        }
        for kind in ("spans", "metrics")
    }
    return Conventions(
        content["schema_url"],
        content["attributes"],
        **signals,
        namespaces=frozenset(content["namespaces"]),
    )


REGISTERED_METRICS = {
    prometheus_name(name, signal): signal for name, signal in conventions().metrics.items()
}
"""The metrics of the extract, as Prometheus spells them."""


def main(checkout: str) -> None:
    """Fill the extract anew from the registry. Raises KeyError for a name that is not there."""
    head, content = _head(), yaml.safe_load(EXTRACT.read_text())
    registry = _Registry(Path(checkout) / "model")
    content["attributes"] = {
        name: registry.type_of(name) for name in sorted(content["attributes"])
    }
    for kind in ("spans", "metrics"):
        content[kind] = {name: registry.signal(name) for name in sorted(content[kind])}
    content["namespaces"] = registry.namespaces()
    manifest = yaml.safe_load((Path(checkout) / "model/manifest.yaml").read_text())
    content["schema_url"] = manifest["schema_url"]
    EXTRACT.write_text(
        head + yaml.safe_dump(content, sort_keys=False, width=100, default_flow_style=None)
    )


def _head() -> str:
    lines = EXTRACT.read_text().splitlines(keepends=True)
    return "".join(line for line in lines if line.startswith("#"))


class _Registry:
    """The groups and attributes of the folder `model`."""

    def __init__(self, model: Path) -> None:
        found = [yaml.safe_load(file.read_text()) or {} for file in model.rglob("*.yaml")]
        groups = [group for file in found for group in file.get("groups", ())]
        self._groups = {group["id"]: group for group in groups}
        self._attributes = {
            attribute.get("id") or attribute["key"]: attribute
            for holder in [
                *groups,
                *found,
            ]  # the second form of the registry's files has no groups
            for attribute in holder.get("attributes", ())
            if "id" in attribute or "key" in attribute
        }

    def type_of(self, name: str) -> str:
        """Raises KeyError for a name that is unknown or deprecated."""
        attribute = self._attributes[name]
        if "deprecated" in attribute:
            raise KeyError(name, "deprecated")
        kind = attribute["type"]
        return kind if isinstance(kind, str) else "string"

    def namespaces(self) -> list[str]:
        metrics = {group.get("metric_name", "") for group in self._groups.values()}
        return sorted(
            {name.partition(".")[0] for name in self._attributes.keys() | metrics} - {""}
        )

    def signal(self, name: str) -> dict[str, Any]:
        group = self._groups.get(f"metric.{name}") or self._groups[f"span.{name}"]
        levels = self._levels(group)
        about = {key: group[key] for key in ("instrument", "unit") if key in group}
        required = sorted(key for key, level in levels.items() if level == "required")
        return {**about, "required": required, "others": sorted(levels.keys() - set(required))}

    def _levels(self, group: dict[str, Any]) -> dict[str, str]:
        """Return attribute → level, of the group and of what it extends."""
        levels = self._levels(self._groups[group["extends"]]) if "extends" in group else {}
        for attribute in group.get("attributes", ()):
            name = attribute.get("ref") or attribute["id"]
            level = attribute.get("requirement_level") or levels.get(name, "recommended")
            levels[name] = level if isinstance(level, str) else next(iter(level))
        return levels


if __name__ == "__main__":
    main(sys.argv[1])
