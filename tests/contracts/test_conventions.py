"""Names of metrics, labels, attributes and fields: the registry's, or plainly our own.

What spans really carry is looked at wherever the integration tests make some, and what a whole stack
emits in `tests/stack/test_conventions.py`.
"""

import pytest
from opentelemetry.semconv.schemas import Schemas
from prometheus_client import Counter, Gauge, Histogram

from firedrill_kit import metrics as core_metrics
from firedrill_kit.telemetry.collectors import CallbackGauge
from firedrill_kit.telemetry.field_names import DATA_MODEL, REGISTERED, field_name
from firedrill_kit.telemetry.redaction import ALLOWED, OWN_NAMESPACE
from service import metrics
from tests.contracts.conventions import (
    KEPT_METRICS,
    REGISTERED_METRICS,
    conventions,
    faults_of_labels,
)
from tests.contracts.metric_catalogue import instruments

Instrument = Counter | Gauge | Histogram | CallbackGauge

KINDS = {"histogram": Histogram, "counter": Counter, "updowncounter": Gauge}


def name_of(instrument: Instrument) -> str:
    if isinstance(instrument, CallbackGauge):
        return instrument.name
    return f"{instrument._name}_total" if isinstance(instrument, Counter) else instrument._name


def labels_of(instrument: Instrument) -> frozenset[str]:
    if isinstance(instrument, CallbackGauge):
        return frozenset(instrument.labelnames)
    return frozenset(instrument._labelnames)


INSTRUMENTS: dict[str, Instrument] = {name_of(found): found for found in instruments()}


def test_the_extract_is_of_the_version_that_the_packages_follow() -> None:
    newest = list(Schemas)[-1]

    assert conventions().schema_url == newest.value


@pytest.mark.parametrize("name", sorted({*ALLOWED, *map(field_name, REGISTERED)} - DATA_MODEL))
def test_attributes_and_fields_are_in_the_registry_or_our_own(name: str) -> None:
    assert name in conventions().attributes or name.startswith(OWN_NAMESPACE)


@pytest.mark.parametrize("name", sorted(INSTRUMENTS))
def test_labels_are_attributes_of_the_registry_or_listed_as_our_own(name: str) -> None:
    assert faults_of_labels(name, labels_of(INSTRUMENTS[name])) == [], (
        "take OpenTelemetry's name, added to conventions.yaml, or list it in OWN_LABELS of conventions.py"
    )


def test_a_counter_of_the_service_exists_before_it_counts() -> None:
    """One that is born at 1 is invisible to increase()."""
    of_the_kit = vars(core_metrics).values()
    counters = {
        one
        for one in vars(metrics).values()
        if isinstance(one, Counter) and labels_of(one) and one not in of_the_kit
    }
    known = {instrument for instrument, _ in metrics._KNOWN}

    assert {name_of(one) for one in counters - known} == set(), (
        "add the values of its labels to `_KNOWN` of service/metrics.py"
    )


@pytest.mark.parametrize("name", sorted(REGISTERED_METRICS))
def test_a_metric_of_the_registry_is_of_its_kind(name: str) -> None:
    """Its unit is in the name already: without the right suffix it would not be found here."""
    assert isinstance(INSTRUMENTS[name], KINDS[REGISTERED_METRICS[name].instrument])


def test_no_metric_of_our_own_looks_like_one_of_the_registry() -> None:
    own = INSTRUMENTS.keys() - REGISTERED_METRICS.keys()
    looks = {name for name in own if name.partition("_")[0] in conventions().namespaces}

    assert looks - KEPT_METRICS == set(), (
        "OpenTelemetry has a namespace of this first word: begin the name with another"
    )
    assert KEPT_METRICS & INSTRUMENTS.keys() <= looks


def test_a_field_gets_a_namespace_once() -> None:
    assert field_name("reason") == "firedrill.reason"
    assert field_name("firedrill.reason") == "firedrill.reason"
    assert field_name("http_route") == "http.route"
    assert {field_name(name) for name in DATA_MODEL} == DATA_MODEL
