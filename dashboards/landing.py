"""The page to open first: what hurts, for whom, and why, in twelve panels.

Their order is the order of the questions at three in the morning. Each leads on: an alert to its runbook, a
route to its own dashboard, a code to its traces.
"""

from alerting.service import Service
from dashboards import meaning
from dashboards.contract import rejected_fields
from dashboards.database import held_by_route
from dashboards.foundation import models
from dashboards.frame import (
    PROBES,
    RATE,
    ROUTE,
    SCOPE,
    SERVICE,
    TO_ROUTE,
    failed_share,
    framed,
    quantile,
)
from dashboards.limits import burn_ratio, fast_within_seconds, limit
from dashboards.links import dashboard_url, runbook_url, traces_url
from dashboards.panels import (
    AMBER,
    GREEN,
    RED,
    THIRD,
    Limit,
    Link,
    Panel,
    Query,
    at,
    graph,
    number,
    rows,
)

UID = "firedrill-landing"

_REQUESTS = f"http_server_request_duration_seconds_count{{{SERVICE},{ROUTE}}}"
_BUDGET = f"service_route:http_server_error_budget:ratio{{{SCOPE},{ROUTE}}}"
_REQUESTS_3D = f"service_route:http_server_requests:increase3d{{{SCOPE},{ROUTE}}}"
_TO_CLASS = "on (env, service, http_route) group_left (slo_class)"

TO_TRACES = Link(
    "Traces of this route", traces_url('span.http.route = "${__field.labels.http_route}"')
)


def dashboard(service: Service) -> models.Dashboard:
    return framed(
        service,
        UID,
        "Firedrill / Landing",
        "Is it broken, for whom, and why? Read from left to right, then follow the links.",
        [("", [*_symptoms(service), *_causes(), *_promises()])],
    )


def _symptoms(service: Service) -> list[Panel]:
    return [
        rows(
            "Pages firing",
            "Good: empty. What the pager is sent. The alert's name opens its runbook; "
            "scope says which routes it covers.",
            Query(
                "max by (alertname, scope, http_route) "
                f'(ALERTS{{{SCOPE},alertstate="firing",severity="page"}})'
            ),
            columns={"alertname": "Alert", "scope": "Scope", "http_route": "Route"},
            value=None,
            column_links={
                "Alert": [Link("Runbook", runbook_url("${__data.fields.Alert}"))],
                "Route": [
                    Link(
                        "This route",
                        dashboard_url("firedrill-api", route="${__data.fields.Route}"),
                    )
                ],
            },
            nothing="no page is firing",
        ),
        graph(
            "Probes that succeed, by replica",
            "Good: 100 % at every replica. Each is asked directly every five seconds, so this falls where "
            "a replica hangs: a request that is never answered is counted in no other panel. One below the "
            "line while another is well pages (ServiceReplicaFailing). replicas: the share that answers.",
            Query(
                f'sum by (replica) (increase(probe_requests_total{{{PROBES},result="ok"}}[1m]))'
                f" / sum by (replica) (increase(probe_requests_total{{{PROBES}}}[1m]))",
                "{{replica}}",
            ),
            Query(f"avg(probe_replica_up{{{PROBES}}})", "replicas"),
            unit="percentunit",
            limits=[Limit(1 - limit("ServiceReplicaFailing", 'result!="ok"'))],
            dashed=["replicas"],
            links=[Link("Probes by route", dashboard_url("firedrill-api"))],
            top=1,
        ),
        graph(
            "Failed requests by route (5xx)",
            "Good: 0 %. The line is where ApiErrorBudgetBurn pages within a minute (tier p0 of the routes "
            "that are promised most; those that are promised less page higher). "
            "Above it: look at “Why” for the code, then at the route's traces.",
            Query(failed_share("1m"), "{{http_route}}"),
            unit="percentunit",
            limits=at(burn_ratio(service, "p0")),
            links=[TO_ROUTE, TO_TRACES],
            top=0.05,
        ),
        graph(
            "Rejected requests by route (422)",
            "Good: flat, at whatever the route's callers always get wrong. More than the line above that is "
            "ApiValidationShift's ticket. A step on one route means that its "
            "contract changed, ours or a client's: see “Fields behind the 422s”.",
            Query(f"service_route:http_422:ratio5m{{{SCOPE},{ROUTE}}}", "{{http_route}}"),
            unit="percentunit",
            limits=[
                Limit(
                    limit("ApiValidationShift", "ratio5m - service_route:http_422:ratio_base"),
                    AMBER,
                )
            ],
            links=[
                Link(
                    "Contract of this route",
                    dashboard_url("firedrill-contract", route="${__field.labels.http_route}"),
                )
            ],
            top=0.1,
        ),
        graph(
            "Traffic by class of status",
            "Good: the shape of the day, all 2xx and 3xx. A hole: callers do not reach us; a wall of "
            "5xx or 4xx says whose fault it is.",
            Query(
                f'sum by (class) (label_replace(rate({_REQUESTS}[{RATE}]), "class", "${{1}}xx", '
                '"http_response_status_code", "(.).."))',
                "{{class}}",
            ),
            unit="reqps",
            stacked=True,
            colors=meaning.CLASSES,
        ),
        graph(
            "p99 by route, without 5xx",
            "Good: under the line, which is the promise of the routes that are to be quickest. Fast "
            "refusals are left out, because they hide slowness. "
            "A dot is a request: it opens its trace.",
            Query(
                quantile(
                    0.99,
                    f"http_server_request_duration_seconds_bucket{{{SERVICE},{ROUTE},"
                    'http_response_status_code!~"5.."}',
                    by="http_route",
                ),
                "{{http_route}}",
                exemplar=True,
            ),
            unit="s",
            limits=at(fast_within_seconds(service)),
            links=[TO_ROUTE, TO_TRACES],
        ),
        rows(
            "Why: problems answered, by code",
            "Good: only codes that callers cause (token_expired, validation_failed). "
            "The code is the name of the failure everywhere: it opens its runbook, its traces and the log "
            "lines behind it.",
            Query(
                "sort_desc(sum by (code, http_route) (increase("
                f"app_failures_total{{{SERVICE},{ROUTE}}}[$__range])) > 0)"
            ),
            columns={"code": "Code", "http_route": "Route"},
            value="Times",
            decimals=0,
            column_links={
                "Code": [
                    Link("Runbook", runbook_url("${__data.fields.Code}")),
                    Link(
                        "Traces",
                        traces_url('span.firedrill.failure.code = "${__data.fields.Code}"'),
                    ),
                ],
                "Route": [
                    Link(
                        "This route",
                        dashboard_url("firedrill-api", route="${__data.fields.Route}"),
                    )
                ],
            },
            nothing="no problem was answered",
        ),
    ]


def _causes() -> list[Panel]:
    pool = f"{{{SERVICE}}}"
    to_database = Link("Database", dashboard_url("firedrill-database"))
    return [
        graph(
            "Connections by instance",
            "Good: used well under max, nobody pending. used at max with callers pending: the pool is empty. "
            "“Connections held by route” says who has them.",
            Query(
                "sum by (instance, db_client_connection_state) "
                f"(db_client_connection_count{pool})",
                "{{instance}} {{db_client_connection_state}}",
            ),
            Query(
                f"sum by (instance) (db_client_connection_pending_requests{pool})",
                "{{instance}} pending",
            ),
            Query(f"max by (instance) (db_client_connection_max{pool})", "{{instance}} max"),
            unit="short",
            colors={".* used": AMBER, ".* idle": GREEN, ".* pending": RED, ".* max": "text"},
            links=[to_database],
        ),
        graph(
            "Connections held, by route",
            "Good: all routes together well under the pool's max. Seconds of holding per second, which is "
            "connections: the route that grows while the others starve is the one to look at.",
            *held_by_route(SERVICE),
            unit="short",
            stacked=True,
            links=[TO_ROUTE],
        ),
        graph(
            "Calendar tokens refreshed, by outcome",
            "Good: success and superseded. invalid_grant is one user's revocation; invalid_client is our "
            "secret; provider_error, timeout and network are the provider.",
            Query(
                f"sum by (outcome) (rate(oauth_refresh_total{{{SERVICE}}}[{RATE}]))", "{{outcome}}"
            ),
            unit="ops",
            stacked=True,
            colors=meaning.OUTCOMES,
            links=[Link("OAuth and calendar", dashboard_url("firedrill-oauth"))],
        ),
    ]


def _promises() -> list[Panel]:
    return [
        rejected_fields(
            "Fields behind the 422s",
            "Good: a few callers' mistakes. One field at the top with one type of error is a contract that "
            "moved: `missing` after a release of a client, `extra_forbidden` after our own.",
            to_route="Contract",
        ),
        number(
            "Error budget left, and age of the monitoring",
            "Good: budgets near 100 %, age under 30 s. A budget is what three days may fail at the rate that "
            "uses up a month's budget in a month; at 0 % ApiErrorBudgetBurn opens a ticket (tier t2). "
            "Age: how long ago the canary last read all its signals back; old means do not trust this page.",
            Query(
                "1 - sum by (slo_class) ("
                f"(service_route:http_server_errors:increase3d{{{SCOPE},{ROUTE}}} or 0 * {_REQUESTS_3D})"
                f" * {_TO_CLASS} ({_BUDGET} > bool 0)) / sum by (slo_class) ("
                f"{_REQUESTS_3D} * {_TO_CLASS} {_BUDGET})",
                "{{slo_class}}",
            ),
            Query(
                'time() - min(telemetry_canary_last_success_timestamp_seconds{job="canary",env=~"$env"})',
                "monitoring age",
            ),
            unit="percentunit",
            width=THIRD,
            height=8,
            base=RED,
            limits=[Limit(0, AMBER), Limit(0.25, GREEN)],
            other_units={
                "monitoring age": (
                    "s",
                    [Limit(limit("TelemetryCanaryStale", "max by (env, service, signal)"))],
                )
            },
        ),
    ]
