"""The pipeline that watches, watched: scrapes, spans, logs, rules, notifications, the dead-man."""

from alerting.service import Service
from dashboards.foundation import models
from dashboards.frame import HERE, RATE, framed
from dashboards.limits import limit
from dashboards.links import runbook_url
from dashboards.panels import (
    AMBER,
    GREEN,
    RED,
    Limit,
    Link,
    Panel,
    Query,
    graph,
    number,
    rows,
    states,
)

UID = "firedrill-telemetry"

_ENV = 'env=~"$env"'
_PROMETHEUS = f'job="prometheus",{_ENV}'
_ALERTMANAGER = f'job="alertmanager",{_ENV}'
_PAGER = f'job="pager",{_ENV}'
_CANARY = f'job="canary",{_ENV}'
_COLLECTOR = f'job="collector",{_ENV}'

COLLECTOR_FLOWS = {
    "otelcol_receiver_accepted_spans_total": "spans in",
    "otelcol_exporter_sent_spans_total": "spans out",
    "otelcol_receiver_accepted_log_records_total": "log lines in",
    "otelcol_exporter_sent_log_records_total": "log lines out",
    "otelcol_receiver_refused_spans_total": "spans refused",
    "otelcol_exporter_send_failed_spans_total": "spans lost: refused by the back end",
    "otelcol_exporter_send_failed_log_records_total": "log lines lost: refused by the back end",
    "otelcol_exporter_enqueue_failed_spans_total": "spans lost: queue full",
    "otelcol_exporter_enqueue_failed_log_records_total": "log lines lost: queue full",
}


def dashboard(service: Service) -> models.Dashboard:
    return framed(
        service,
        UID,
        "Firedrill / Telemetry pipeline",
        "Whether the other dashboards can be believed. From what is scraped to the page that arrives.",
        [
            ("Does it come back?", _end_to_end()),
            ("Scrapes and series", _scrapes()),
            ("Spans and logs on their way out", _exports()),
            ("Rules and notifications", _alerting()),
        ],
    )


def _end_to_end() -> list[Panel]:
    return [
        number(
            "Canary: last seen",
            "Good: under 30 s. Every 15 s a span, a log line and a metric are written and read back as a "
            "user would. One old: that signal is lost. All old: TelemetryCanaryStale pages.",
            Query(
                "time() - max by (signal) "
                f"(telemetry_canary_last_success_timestamp_seconds{{{_CANARY}}})",
                "{{signal}}",
            ),
            unit="s",
            width=8,
            height=5,
            limits=[
                Limit(30, AMBER),
                Limit(limit("TelemetryCanaryStale", "max by (env, service, signal)")),
            ],
            links=[Link("Runbook", runbook_url("TelemetryCanaryStale"))],
        ),
        number(
            "Dead-man: age of Prometheus' last beat",
            "Good: under 30 s. The Watchdog alert always fires and carries the time; at 75 s the pager pages "
            "by itself, because then nobody else can.",
            Query(
                f"max by (instance) (pager_deadman_beat_age_seconds{{{_PAGER}}})", "{{instance}}"
            ),
            unit="s",
            width=8,
            height=5,
            limits=[Limit(30, AMBER), Limit(75, RED)],
            links=[Link("Runbook", runbook_url("Watchdog"))],
        ),
        number(
            "History stored",
            "Good: more than six hours. Younger, the tiers p2, t1 and t2 of the error budget wait, since "
            "their windows would be minutes in disguise.",
            Query(
                f"time() - min(prometheus_tsdb_lowest_timestamp_seconds{{{_PROMETHEUS}}})",
                "oldest sample",
            ),
            unit="s",
            width=8,
            height=5,
            base=AMBER,
            limits=[Limit(21600, GREEN)],
        ),
    ]


def _scrapes() -> list[Panel]:
    return [
        states(
            "Targets",
            "Good: up. One replica or any other job down is TargetDown; all replicas of the service are "
            "ServiceDown, which pages.",
            Query(f"max by (job, instance) (up{{{_ENV}}})", "{{job}} {{instance}}"),
            words={"1": ("up", GREEN), "0": ("down", RED)},
            width=8,
            height=10,
            links=[Link("Runbook", runbook_url("TargetDown"))],
        ),
        graph(
            "Duration of scrapes",
            "Good: under a second. At four seconds a scrape is given up, and the target counts as down.",
            Query(f"max by (job) (scrape_duration_seconds{{{_ENV}}})", "{{job}}"),
            unit="s",
            width=8,
            height=10,
        ),
        graph(
            "Samples per scrape of the service",
            "Good: flat. Above the line TelemetryCardinalityHigh opens a ticket; at 10,000 the scrape is "
            "refused as a whole. A slope is a label that grows with its callers.",
            Query(
                f"max by (instance) (scrape_samples_post_metric_relabeling{{{HERE}}})",
                "{{instance}}",
            ),
            unit="short",
            width=8,
            height=10,
            limits=[Limit(limit("TelemetryCardinalityHigh", "scrape_samples"))],
            links=[Link("Runbook", runbook_url("TelemetryCardinalityHigh"))],
        ),
        graph(
            "Series in Prometheus",
            "Good: flat, with a step at a deploy. It is what Prometheus' memory is made of.",
            Query(
                f"max by (instance) (prometheus_tsdb_head_series{{{_PROMETHEUS}}})", "{{instance}}"
            ),
            unit="short",
        ),
        rows(
            "Samples by target, now",
            "Good: the service first. What costs how much; a target that is new here costs something new.",
            Query(
                "sort_desc(max by (job, instance) "
                f"(scrape_samples_post_metric_relabeling{{{_ENV}}}))"
            ),
            columns={"job": "Job", "instance": "Instance"},
            value="Samples",
            decimals=0,
        ),
        graph(
            "Bugs of the telemetry itself",
            "Good: none, ever. Errors of our own instrumentation, swallowed so that no request fails for "
            "being measured.",
            Query(f"sum by (where) (rate(telemetry_errors_total{{{HERE}}}[{RATE}]))", "{{where}}"),
            unit="ops",
            colors={".*": RED},
        ),
    ]


def _exports() -> list[Panel]:
    return [
        graph(
            "Spans waiting in the service",
            "Good: a few. Above the line TelemetryExportFailing opens a ticket; at 100 % spans are dropped, "
            "and requests go on unharmed.",
            Query(
                f"max by (instance) (telemetry_queue_spans{{{HERE}}}"
                f" / telemetry_queue_capacity_spans{{{HERE}}})",
                "{{instance}}",
            ),
            unit="percentunit",
            limits=[Limit(limit("TelemetryExportFailing", "telemetry_queue_spans"))],
            links=[Link("Runbook", runbook_url("TelemetryExportFailing"))],
            top=1,
        ),
        graph(
            "Spans by what became of them",
            "Good: exported. What is made is exported, dropped or waiting: nothing is lost uncounted.",
            Query(
                f"sum by (result) (rate(telemetry_spans_total{{{HERE}}}[{RATE}]))", "{{result}}"
            ),
            unit="ops",
            stacked=True,
            colors={"exported": GREEN, "dropped.*": RED, "failed": AMBER},
        ),
        graph(
            "Log lines, written and dropped",
            "Good: written, none dropped. Lines are dropped when the reader of our output stands still, "
            "instead of the service standing still with it.",
            Query(
                f"sum by (level, result) (rate(log_records_total{{{HERE}}}[{RATE}])) > 0",
                "{{level}} {{result}}",
            ),
            unit="ops",
            stacked=True,
            colors={".* dropped": RED, "error written": AMBER, "info written": GREEN},
        ),
        graph(
            "Collector: queue of the exporters",
            "Good: a few percent. Full means that the store behind does not keep up; then spans and log "
            "lines are refused, counted on the right. Empty without a collector: the "
            "service exports by itself.",
            Query(
                "max by (exporter) ("
                f"otelcol_exporter_queue_size{{{_COLLECTOR}}}"
                f" / otelcol_exporter_queue_capacity{{{_COLLECTOR}}})",
                "{{exporter}}",
            ),
            unit="percentunit",
            width=12,
            top=1,
        ),
        graph(
            "Collector: in, out, refused and lost",
            "Good: log lines out as in; fewer spans out, since traces that nobody asked to keep are let go. "
            "Refused: short of memory, the sender keeps them. Lost: the queue is full, or a back end refuses "
            "for good (a tenant, credentials). Empty without a collector.",
            *(
                Query(f"sum(rate({metric}{{{_COLLECTOR}}}[{RATE}]))", legend)
                for metric, legend in COLLECTOR_FLOWS.items()
            ),
            unit="ops",
            width=12,
            colors={".* (refused|lost).*": RED},
        ),
    ]


def _by_group(expression: str) -> str:
    """Name a rule group without the path of its file."""
    named = f'label_replace({expression}, "group", "$1", "rule_group", ".*;(.*)")'
    return f"max by (group) ({named})"


def _alerting() -> list[Panel]:
    return [
        graph(
            "Evaluation time of rule groups",
            "Good: far below the interval of 5 s (a minute for long windows). Near it alerts come late.",
            Query(
                _by_group(
                    "max by (rule_group) "
                    f"(prometheus_rule_group_last_duration_seconds{{{_PROMETHEUS}}}) > 0.001"
                ),
                "{{group}}",
            ),
            unit="s",
        ),
        graph(
            "Rules that failed",
            "Good: none. A rule that fails is an alert that cannot fire (PrometheusRuleFailures).",
            Query(
                "sum(increase("
                f"prometheus_rule_evaluation_failures_total{{{_PROMETHEUS}}}[{RATE}]))",
                "all groups",
            ),
            Query(
                _by_group(
                    "sum by (rule_group) (increase("
                    f"prometheus_rule_evaluation_failures_total{{{_PROMETHEUS}}}[{RATE}])) > 0"
                ),
                "{{group}}",
            ),
            unit="short",
            colors={".*": RED},
            links=[Link("Runbook", runbook_url("PrometheusRuleFailures"))],
        ),
        graph(
            "Notifications: sent, failed, received",
            "Good: sent and received move together, nothing failed. Failing for a minute is "
            "AlertDeliveryFailing, which comes by the second channel.",
            Query(
                f"sum(rate(prometheus_notifications_sent_total{{{_PROMETHEUS}}}[{RATE}]))",
                "Prometheus to Alertmanager",
            ),
            Query(
                f"sum(rate(prometheus_notifications_errors_total{{{_PROMETHEUS}}}[{RATE}]))",
                "failed to Alertmanager",
            ),
            Query(
                "sum by (integration) (rate("
                f"alertmanager_notifications_total{{{_ALERTMANAGER}}}[{RATE}])) > 0",
                "Alertmanager to {{integration}}",
            ),
            Query(
                "sum by (integration) (rate("
                f"alertmanager_notification_requests_failed_total{{{_ALERTMANAGER}}}[{RATE}])) > 0",
                "failed to {{integration}}",
            ),
            Query(
                f"sum by (receiver) (rate(pager_notifications_total{{{_PAGER}}}[{RATE}])) > 0",
                "pager: {{receiver}}",
            ),
            unit="ops",
            colors={"failed .*": RED},
            links=[Link("Runbook", runbook_url("AlertDeliveryFailing"))],
        ),
    ]
