"""What the dashboards have in common: variables, annotations, links, time range."""

from collections.abc import Sequence
from functools import cache

from alerting.build import VIEWER_URL
from alerting.catalogue import load_alerts
from alerting.features import can_fire
from alerting.needs import has_result
from alerting.service import Service
from dashboards import links
from dashboards.foundation import Builder, dashboard, models, prometheus_models
from dashboards.panels import DATASOURCE, Link, Panel
from dashboards.queries import substituted

TAG = "firedrill"
SCOPE = 'env=~"$env",service=~"$service"'
"""Matchers of everything that is recorded or fires."""
SERVICE = f'job="service",{SCOPE}'
"""Matchers of what the service itself exports: the job keeps other programs out, as in the rules."""
ROUTE = 'http_route=~"$route"'
INSTANCE = 'instance=~"$instance"'
HERE = f"{SERVICE},{INSTANCE}"
"""Matchers of one process, where its instance can be chosen."""
PROBES = f'job="prober",{SCOPE}'
RATE = "$__rate_interval"
NO_PROBER = 'client_version!~"prober.*"'

TO_ROUTE = Link(
    "This route", links.dashboard_url("firedrill-api", route="${__field.labels.http_route}")
)
"""From a series of a route to that route's own dashboard."""

Section = tuple[str, Sequence[Panel]]
"""A heading, empty for none, and the panels below it."""


def quantile(share: float, buckets: str, *, by: str = "", window: str = RATE) -> str:
    """Return the PromQL of a quantile; buckets: a histogram's `_bucket` with its matchers."""
    labels = f"le, {by}" if by else "le"
    return f"histogram_quantile({share}, sum by ({labels}) (rate({buckets}[{window}])))"


def failed_share(window: str) -> str:
    """Return the PromQL of the share of failed requests by route; 0 where none has ever failed."""
    matchers = f"{{{SCOPE},{ROUTE}}}"
    return (
        f"service_route:http_server_errors_per_request:ratio_rate{window}{matchers}"
        f" or 0 * service_route:http_server_requests:increase{window}{matchers}"
    )


def framed(
    service: Service,
    uid: str,
    title: str,
    description: str,
    sections: Sequence[Section],
) -> models.Dashboard:
    """Return the dashboard with all that ours share, its panels numbered in reading order.

    What the service has no metrics for is left out: queries, panels without any, headings without panels.
    """
    builder = (
        dashboard.Dashboard(title)
        .uid(uid)
        .description(description)
        .tags([TAG])
        .readonly()
        .tooltip(models.DashboardCursorSync.CROSSHAIR)
        .time("now-1h", "now")
        .timezone("browser")
        .refresh("10s")
        .timepicker(dashboard.TimePicker().refresh_intervals(["5s", "10s", "30s", "1m", "5m"]))
        .variables(_variables())
        .annotations(_annotations())
        .links(_links())
    )
    for heading, panels in sections:
        shown = [panel for panel in panels if _is_shown(panel, service)]
        if heading and shown:
            builder.with_row(dashboard.Row(heading))
        for panel in shown:
            builder.with_panel(panel)
    built = builder.build()
    for number, panel_or_row in enumerate(built.panels or [], start=1):
        panel_or_row.id_val = number
    built.schema_version = 42
    return built


def _is_shown(panel: Panel, service: Service) -> bool:
    """Take out of the panel the queries that cannot have a result, and links to runbooks of alerts that
    cannot fire; False when no query is left.
    """
    built = panel.build()
    built.targets = [
        target
        for target in built.targets or []
        if isinstance(target, prometheus_models.Dataquery)
        and has_result(substituted(target.expr), service.features)
    ]
    defaults = built.field_config.defaults if built.field_config else None
    if defaults and defaults.links:
        others = _runbooks_of_others(service.features)
        defaults.links = [link for link in defaults.links if link.url not in others]
    return bool(built.targets)


@cache
def _runbooks_of_others(features: frozenset[str]) -> frozenset[str]:
    """Addresses of the runbooks of alerts that cannot fire with these features."""
    return frozenset(
        links.runbook_url(alert.name) for alert in load_alerts() if not can_fire(alert, features)
    )


def _variables() -> list[Builder[models.VariableModel]]:
    requests = f"http_server_request_duration_seconds_count{{{SERVICE}}}"
    return [
        dashboard.DatasourceVariable("datasource")
        .label("Data source")
        .type("prometheus")
        .current(
            models.VariableOption(text="Prometheus", value=links.PROMETHEUS_UID, selected=True)
        ),
        dashboard.ConstantVariable("runbooks").value(VIEWER_URL),
        _query_variable("env", "Environment", 'label_values(up{job="service"}, env)'),
        _query_variable(
            "service", "Service", 'label_values(up{job="service",env=~"$env"}, service)'
        ),
        _query_variable("route", "Route", f"label_values({requests}, http_route)"),
        _query_variable("instance", "Instance", f"label_values(up{{{SERVICE}}}, instance)"),
    ]


def _query_variable(name: str, label: str, query: str) -> dashboard.QueryVariable:
    return (
        dashboard.QueryVariable(name)
        .label(label)
        .query(query)
        .definition(query)
        .datasource(DATASOURCE)
        .refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(models.VariableSort.ALPHABETICAL_ASC)
        .include_all(True)
        # Not `.+`, which says the same: Grafana puts it into links as it is, and reads its `+` as a space.
        .all_value("..*")
        .multi(False)
        .current(models.VariableOption(text="All", value="$__all", selected=True))
    )


def _annotations() -> list[Builder[models.AnnotationQuery]]:
    built = f"api_build_info{{{SERVICE}}}"
    return [
        _annotation(
            "Deploys",
            f"group by (version) ({built}) unless on (version) group by (version) ({built} offset 1m)",
            color="blue",
            title="deployed {{version}}",
            tags="version",
        ),
        _annotation(
            "Firing alerts",
            "max by (alertname, severity, scope) "
            f'(ALERTS{{{SCOPE},alertstate="firing",severity=~"page|ticket"}})',
            color="red",
            title="{{alertname}} ({{severity}})",
            tags="alertname,scope",
        ),
        _annotation(
            "Load phases",
            "max by (scenario, phase) (loadtest_phase_info)",
            color="purple",
            title="load: {{scenario}} {{phase}}",
            tags="scenario,phase",
        ),
        _annotation(
            "Drills",
            "max by (drill, phase) (drill_phase_info)",
            color="orange",
            title="drill: {{drill}} {{phase}}",
            tags="drill,phase",
        ),
    ]


def _annotation(
    name: str, expr: str, *, color: str, title: str, tags: str
) -> dashboard.AnnotationQuery:
    return (
        dashboard.AnnotationQuery()
        .name(name)
        .datasource(DATASOURCE)
        .enable(True)
        .hide(False)
        .icon_color(color)
        .expr(expr)
        .step("10s")
        .title_format(title)
        .tag_keys(tags)
        .use_value_for_time(False)
    )


def _links() -> list[Builder[models.DashboardLink]]:
    condition = 'resource.service.name =~ "${service}" && span.http.route =~ "${route}"'
    return [
        dashboard.DashboardLink("Dashboards")
        .type(models.DashboardLinkType.DASHBOARDS)
        .tags([TAG])
        .as_dropdown(False)
        .include_vars(True)
        .keep_time(True),
        _outside(
            "Alerts", links.ALERTS_URL, "what fires, is pending, is inhibited; with runbooks"
        ),
        _outside(
            "Traces", links.traces_url(condition), "traces of the routes and the range shown"
        ),
        _outside("Logs", links.logs_url('| http_route =~ "${route}"'), "log lines of the same"),
    ]


def _outside(title: str, url: str, tooltip: str) -> dashboard.DashboardLink:
    return (
        dashboard.DashboardLink(title)
        .type(models.DashboardLinkType.LINK)
        .icon("external link")
        .tooltip(tooltip)
        .url(url)
    )
