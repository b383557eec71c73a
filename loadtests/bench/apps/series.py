"""Many series in a registry, for what a scrape costs."""

import os

from prometheus_client import CollectorRegistry, Histogram

SERIES_OF_HISTOGRAM = 17
"""Fourteen bounds, +Inf, sum and count."""


def add_series(registry: CollectorRegistry) -> None:
    """As many as BENCH_SERIES says, of histograms, as latencies by route are; none when it is not set."""
    count = int(os.environ.get("BENCH_SERIES", "0"))
    if count:
        many = Histogram(
            "bench_seconds",
            "Many series.",
            ["number"],
            registry=registry,
            buckets=[0.001 * 2**power for power in range(14)],
        )
        for number in range(count // SERIES_OF_HISTOGRAM):
            many.labels(str(number)).observe(0.01)
