"""The contract with callers: what is rejected (422), who is let in (401), what is taken for forged."""

from collections.abc import Mapping, Sequence

from alerting.service import Service
from dashboards import meaning
from dashboards.foundation import models
from dashboards.frame import NO_PROBER, RATE, ROUTE, SCOPE, SERVICE, framed
from dashboards.limits import limit
from dashboards.links import dashboard_url, runbook_url, traces_url
from dashboards.panels import (
    AMBER,
    GREEN,
    HALF,
    RED,
    THIRD,
    Limit,
    Link,
    Panel,
    Query,
    graph,
    rows,
)

UID = "firedrill-contract"

_REJECTED = (
    "http_server_request_duration_seconds_count"
    f'{{{SERVICE},{ROUTE},http_response_status_code="422"}}'
)
_TRACES = Link(
    "Rejected requests", traces_url('span.firedrill.failure.code = "validation_failed"')
)
_ONLY_THIS = Link("Only this route", dashboard_url(UID, route="${__field.labels.http_route}"))


def dashboard(service: Service) -> models.Dashboard:
    return framed(
        service,
        UID,
        "Firedrill / Contract and 422",
        "What callers send and we refuse. Callers err at a steady rate; a step means that one side changed.",
        [
            ("Rejected bodies (422)", _validation()),
            ("Whose change was it?", _attribution()),
            ("Callers and their tokens (401, 403)", _callers()),
        ],
    )


def rejected_fields(
    title: str,
    description: str,
    *,
    to_route: str,
    column_links: Mapping[str, Sequence[Link]] | None = None,
    width: int = THIRD,
) -> Panel:
    """The table of what was wrong with bodies. to_route: how the link to this dashboard is called."""
    own = Link(to_route, dashboard_url(UID, route="${__data.fields.Route}"))
    return rows(
        title,
        description,
        Query(
            "sort_desc(sum by (http_route, field, error_type) (increase("
            f"http_request_validation_errors_total{{{SERVICE},{ROUTE}}}[$__range])) > 0)"
        ),
        columns={"http_route": "Route", "field": "Field", "error_type": "Error"},
        value="Times",
        decimals=0,
        width=width,
        column_links={"Route": [own], **(column_links or {})},
        nothing="no request was rejected",
    )


def _validation() -> list[Panel]:
    shift = limit("ApiValidationShift", "ratio5m - service_route:http_422:ratio_base")
    return [
        graph(
            "422 by route against its own day",
            f"Good: each route inside its band, which ends {shift:.0%} above the route's own last day; "
            "above it ApiValidationShift opens a ticket. A route with fewer than 100 requests in its day has "
            "no band yet.",
            Query(f"service_route:http_422:ratio5m{{{SCOPE},{ROUTE}}}", "{{http_route}}"),
            Query(
                f"service_route:http_422:ratio_base{{{SCOPE},{ROUTE}}} + {shift:g}",
                "limit of {{http_route}}",
            ),
            unit="percentunit",
            width=HALF,
            colors={"limit of .*": RED},
            links=[_ONLY_THIS, _TRACES],
            top=0.1,
        ),
        graph(
            "How unusual: z-score of the last 5 minutes",
            "Good: below the line. Standard errors above the route's own day; the same number means the same "
            "surprise on a busy and on a quiet route.",
            Query(f"service_route:http_422:zscore5m{{{SCOPE},{ROUTE}}}", "{{http_route}}"),
            unit="short",
            width=HALF,
            limits=[Limit(limit("ApiValidationShift", "http_422:zscore5m"))],
            links=[_ONLY_THIS],
            top=10,
        ),
        graph(
            "Rejected fields by type of error",
            "Good: a thin, mixed layer. One field that fills the panel is the change: `missing` when a "
            "client stopped sending it, `extra_forbidden` when it sends a new one, "
            "`..._type` when its form changed.",
            Query(
                "sum by (field, error_type) (rate("
                f"http_request_validation_errors_total{{{SERVICE},{ROUTE}}}[{RATE}]))",
                "{{field}}: {{error_type}}",
            ),
            unit="ops",
            width=HALF,
            stacked=True,
            links=[_TRACES],
        ),
        rejected_fields(
            "Rejected fields over the range",
            "Good: short. The last word on what is wrong: route, field, type of error; never the value.",
            to_route="Only this route",
            column_links={"Error": [_TRACES]},
            width=HALF,
        ),
    ]


def _attribution() -> list[Panel]:
    return [
        graph(
            "Share of rejected writes by client version",
            "Good: all versions low. One version above the line: its release broke it "
            "(ApiValidationClientRelease, ticket). All versions: ours did (ApiValidationBroken, page).",
            Query(
                "max by (client_version) ("
                f"service_route_client:api_client_rejected_callers:sum{{{SCOPE},{ROUTE},{NO_PROBER}}}"
                f" / service_route_client:api_client_callers:sum{{{SCOPE},{ROUTE},{NO_PROBER}}})",
                "{{client_version}}",
            ),
            unit="percentunit",
            limits=[Limit(limit("ApiValidationClientRelease", "api_client_rejected_callers:sum"))],
            links=[_TRACES],
            top=1,
        ),
        graph(
            "422 by our build",
            "Good: the same rate on every build. All of it on the new one while both run: roll back.",
            Query(
                f"sum by (version, revision) (rate({_REJECTED}[{RATE}])"
                " * on (env, service, instance) group_left (version, revision) "
                f"api_build_info{{{SERVICE}}})",
                "{{version}} {{revision}}",
            ),
            unit="reqps",
            stacked=True,
        ),
        graph(
            "All refusals by status",
            "Good: flat. 404 in a wave is a scanner or a wrong link; 409 and 412 are two writers; 429 is one "
            "caller too fast.",
            Query(
                "sum by (http_response_status_code) (rate(http_server_request_duration_seconds_count"
                f'{{{SERVICE},{ROUTE},http_response_status_code=~"4.."}}[{RATE}]))',
                "{{http_response_status_code}}",
            ),
            unit="reqps",
            stacked=True,
            colors=meaning.STATUSES,
        ),
    ]


def _callers() -> list[Panel]:
    shift = limit("AuthRejectionShift", "ratio5m - service:auth_rejections:ratio_base")
    return [
        graph(
            "Tokens refused, by reason and format",
            "Good: some expired ones. signature, audience or issuer in a wave is a key that was changed "
            "without overlap (AuthSignatureRejections); conflict is one caller with two identities.",
            Query(
                "sum by (reason, token_format) (rate("
                f"auth_tokens_rejected_total{{{SERVICE}}}[{RATE}])) > 0",
                "{{reason}} ({{token_format}})",
            ),
            unit="ops",
            width=HALF,
            stacked=True,
            links=[Link("Runbook: signatures", runbook_url("AuthSignatureRejections"))],
        ),
        graph(
            "Callers let in, by token format",
            "Good: the shape of traffic. A drop here with a rise on the left is good callers locked out, "
            "which is what pages; a rise on the left alone is somebody trying.",
            Query(
                f"sum by (token_format) (rate(auth_tokens_accepted_total{{{SERVICE}}}[{RATE}]))",
                "{{token_format}}",
            ),
            unit="ops",
            width=HALF,
            stacked=True,
        ),
        graph(
            "Share of tokens refused against its own day",
            f"Good: below the limit, {shift:.0%} above the own last day; then AuthRejectionShift opens a "
            "ticket. Signatures and conflicts have alerts of their own.",
            Query(f"service:auth_rejections:ratio5m{{{SCOPE}}}", "{{service}} now"),
            Query(
                f"service:auth_rejections:ratio_base{{{SCOPE}}} + {shift:g}",
                "limit of {{service}}",
            ),
            unit="percentunit",
            width=HALF,
            colors={"limit of .*": RED, ".* now": GREEN},
            top=0.1,
        ),
        graph(
            "Requests refused as forged, by reason",
            "Good: none, or a few expired. missing in a wave is a client that lost its CSRF header; origin "
            "or fetch_site is a page of somebody else (CsrfRejectionSpike).",
            Query(
                f"sum by (reason) (rate(csrf_rejected_total{{{SERVICE}}}[{RATE}]))", "{{reason}}"
            ),
            unit="ops",
            width=HALF,
            stacked=True,
            colors={"missing|expired": AMBER},
        ),
    ]
