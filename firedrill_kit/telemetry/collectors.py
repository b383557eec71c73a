"""Collectors that read a value when Prometheus asks, so that a gauge cannot drift."""

from collections.abc import Callable, Iterable, Mapping, Sequence

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from firedrill_kit.telemetry.guard import guard

Reading = Callable[[], Mapping[tuple[str, ...], float]]


class CallbackGauge(Collector):
    """A gauge whose whole set of series is computed at scrape.

    `read` maps label values, in the order of `labels`, to the value; it is called on the scrape's
    thread and must not block. When it raises, the scrape goes on without this gauge.
    """

    def __init__(
        self, name: str, documentation: str, labels: Sequence[str], *, registry: CollectorRegistry
    ) -> None:
        self.name = name
        self.documentation = documentation
        self.labelnames = tuple(labels)
        self.read: Reading = dict
        registry.register(self)

    def describe(self) -> Iterable[GaugeMetricFamily]:
        yield GaugeMetricFamily(self.name, self.documentation, labels=self.labelnames)

    def collect(self) -> Iterable[GaugeMetricFamily]:
        family = GaugeMetricFamily(self.name, self.documentation, labels=self.labelnames)
        with guard("collectors"):
            for values, value in self.read().items():
                family.add_metric(values, value)
        yield family


def register_process_collectors(registry: CollectorRegistry) -> None:
    """Add prometheus_client's own process, platform and garbage collector metrics."""
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    GCCollector(registry=registry)
