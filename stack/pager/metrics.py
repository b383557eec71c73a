"""The pager's own instruments, in a registry of their own; every label set is touched at start."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, disable_created_metrics

disable_created_metrics()  # type: ignore[no-untyped-call]

# The names of the receivers in alertmanager.yml that may post here.
RECEIVERS = ("pager", "ticket", "second_channel", "deadman", "doctor")
REFUSALS = ("invalid", "too_large", "unknown_receiver", "not_stored")


class Metrics:
    """beat_age_seconds: asked at scrape; None where there is no dead-man, or no beat yet."""

    def __init__(
        self,
        *,
        beat_age_seconds: Callable[[], float | None] | None,
        is_dead: Callable[[], bool] | None,
    ) -> None:
        self.registry = CollectorRegistry()
        self.notifications = Counter(
            "pager_notifications_total",
            "Notifications received from Alertmanager and stored (beats: heard).",
            ["receiver", "status"],
            registry=self.registry,
        )
        self.refused = Counter(
            "pager_notifications_refused_total",
            "Posts that were answered with an error.",
            ["reason"],
            registry=self.registry,
        )
        for receiver in RECEIVERS:
            for status in ("firing", "resolved"):
                self.notifications.labels(receiver, status)
        for reason in REFUSALS:
            self.refused.labels(reason)
        if beat_age_seconds is not None and is_dead is not None:
            age = Gauge(
                "pager_deadman_beat_age_seconds",
                "Age of Prometheus' last beat; NaN before the first.",
                registry=self.registry,
            )
            age.set_function(lambda: _nan_for_none(beat_age_seconds()))
            dead = Gauge(
                "pager_deadman_dead",
                "1 while Prometheus is taken for dead.",
                registry=self.registry,
            )
            dead.set_function(is_dead)


def _nan_for_none(value: float | None) -> float:
    return float("nan") if value is None else value
