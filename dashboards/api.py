"""What each route promises and keeps: traffic, errors against the budget, latency, saturation."""

from alerting.service import Service
from dashboards import meaning
from dashboards.foundation import models
from dashboards.frame import (
    HERE,
    INSTANCE,
    PROBES,
    RATE,
    ROUTE,
    SERVICE,
    failed_share,
    framed,
    quantile,
)
from dashboards.limits import burn_ratio, fast_within_seconds, limit
from dashboards.links import dashboard_url, runbook_url, traces_url
from dashboards.panels import (
    AMBER,
    HALF,
    Limit,
    Link,
    Panel,
    Query,
    at,
    graph,
    heat,
    number,
    rows,
)

UID = "firedrill-api"

_SECONDS = "http_server_request_duration_seconds"
_REQUESTS = f"{_SECONDS}_count{{{SERVICE},{ROUTE}}}"
_ANSWERED = f'{_SECONDS}_bucket{{{SERVICE},{ROUTE},http_response_status_code!~"5.."}}'
_PROBES = f"{PROBES},{ROUTE}"

_ONLY_THIS = Link("Only this route", dashboard_url(UID, route="${__field.labels.http_route}"))
_FAILED = Link(
    "Failed traces of this route",
    traces_url(
        'span.http.route = "${__field.labels.http_route}" && span.http.response.status_code >= 500'
    ),
)


def dashboard(service: Service) -> models.Dashboard:
    return framed(
        service,
        UID,
        "Firedrill / API per route",
        "What each route promises and keeps. Choose a route above; every panel follows it.",
        [
            ("Traffic and errors", _traffic(service)),
            ("Latency", _latency(service)),
            ("Saturation", _saturation()),
            ("Seen from outside, and by client", _outside()),
        ],
    )


def _traffic(service: Service) -> list[Panel]:
    return [
        graph(
            "Requests by status",
            "Good: 200 and 304. Each status stands alone, because 409, 412, 422 and 429 have different "
            "owners; 503 is ours to refuse with, 500 never is.",
            Query(
                f"sum by (http_response_status_code) (rate({_REQUESTS}[{RATE}]))",
                "{{http_response_status_code}}",
            ),
            unit="reqps",
            stacked=True,
            colors=meaning.STATUSES,
            links=[
                Link(
                    "Traces with this status",
                    traces_url(
                        'span.http.route =~ "${route}" && span.http.response.status_code = '
                        "${__field.labels.http_response_status_code}"
                    ),
                )
            ],
        ),
        graph(
            "Failed requests against the error budget",
            "Good: 0 %. The lines are where ApiErrorBudgetBurn pages: p0 within minutes, p1 within an hour, "
            "p2 within six, for the routes that are promised most; those that are promised less page higher.",
            Query(failed_share("1m"), "{{http_route}} 1m"),
            Query(failed_share("1h"), "{{http_route}} 1h"),
            unit="percentunit",
            limits=[
                *at(burn_ratio(service, "p2"), AMBER),
                *at(burn_ratio(service, "p1"), AMBER),
                *at(burn_ratio(service, "p0")),
            ],
            links=[_ONLY_THIS, _FAILED],
            top=0.05,
        ),
        graph(
            "Problems answered, by code",
            "Good: only what callers cause. The code is the failure's name in metrics, logs, traces, answers "
            "and runbooks: click it.",
            Query(
                f"sum by (code) (rate(app_failures_total{{{SERVICE},{ROUTE}}}[{RATE}])) > 0",
                "{{code}}",
            ),
            unit="reqps",
            stacked=True,
            colors=meaning.CODES,
            links=[
                Link("Runbook", runbook_url("${__field.labels.code}")),
                Link(
                    "Traces", traces_url('span.firedrill.failure.code = "${__field.labels.code}"')
                ),
            ],
        ),
    ]


def _latency(service: Service) -> list[Panel]:
    promised = fast_within_seconds(service)
    slow = Link(
        "Slow traces of this route",
        traces_url(
            'span.http.route = "${__field.labels.http_route}"'
            f" && trace:duration > {(promised or 0) * 1000:g}ms"
        ),
    )
    return [
        graph(
            "Latency: p50, p90, p99 without 5xx",
            "Good: p99 under the line, the promise of the quickest routes. p50 that moves with p99 is a "
            "slower dependency; p99 alone is a queue or a lock. A dot opens its trace.",
            Query(quantile(0.5, _ANSWERED), "p50"),
            Query(quantile(0.9, _ANSWERED), "p90"),
            Query(quantile(0.99, _ANSWERED), "p99", exemplar=True),
            unit="s",
            width=HALF,
            limits=at(promised),
            colors=meaning.QUANTILES,
            links=[Link("Traces", traces_url('span.http.route =~ "${route}"'))],
        ),
        heat(
            "Spread of latency, all answers",
            "Good: one band low down. Two bands are two kinds of request, cached and not, or one replica "
            "that is slower. A band at a round number is a timeout: the pool's, or the statement's.",
            Query(
                f"sum by (le) (increase({_SECONDS}_bucket{{{SERVICE},{ROUTE}}}[{RATE}]))",
                "{{le}}",
                exemplar=True,
            ),
            unit="s",
        ),
        graph(
            "p99 by route, without 5xx",
            "Good: flat. Which route is it? One that waits for another service, or hashes a password, "
            "is slower by design, and is promised less.",
            Query(quantile(0.99, _ANSWERED, by="http_route"), "{{http_route}}", exemplar=True),
            unit="s",
            width=HALF,
            limits=at(promised),
            links=[_ONLY_THIS, slow],
        ),
        rows(
            "Slowest routes over the range (p99)",
            "Good: the order that you know. A route that moved up is where to look; its name leads there.",
            Query(
                "sort_desc(histogram_quantile(0.99, sum by (le, http_route) (increase("
                f"{_ANSWERED}[$__range]))) > 0)"
            ),
            columns={"http_route": "Route"},
            value="p99",
            unit="s",
            width=HALF,
            limits=at(promised, AMBER),
            column_links={
                "Route": [Link("This route", dashboard_url(UID, route="${__data.fields.Route}"))]
            },
            nothing="no request was answered",
        ),
    ]


def _saturation() -> list[Panel]:
    return [
        graph(
            "In flight by route",
            "Good: rate times latency, a handful. A ramp without more traffic means that "
            "answers stopped coming.",
            Query(
                f"sum by (http_route) (http_server_active_requests{{{SERVICE},{ROUTE},{INSTANCE}}})",
                "{{http_route}}",
            ),
            unit="short",
            stacked=True,
            links=[_ONLY_THIS],
        ),
        graph(
            "Admitted, by class",
            "Good: under the limits of a replica (30 reads, 20 writes, 20 calendar, 4 logins). At the limit "
            "the service refuses what is too much, at once and with Retry-After.",
            Query(
                f"sum by (class, instance) (http_server_admitted_requests{{{HERE}}})",
                "{{class}} {{instance}}",
            ),
            unit="short",
        ),
        graph(
            "Share of requests refused at admission",
            "Good: 0 %. Above the line ServiceOverloaded pages after a minute: more arrives than can be "
            "answered. Add replicas, or find the caller that retries.",
            Query(
                f"sum by (class) (rate(load_shed_total{{{SERVICE}}}[{RATE}]))"
                " / ignoring (class) group_left () sum(rate("
                f"{_SECONDS}_count{{{SERVICE}}}[{RATE}]))",
                "{{class}}",
            ),
            unit="percentunit",
            limits=[Limit(limit("ServiceOverloaded", "load_shed_total"))],
            top=0.2,
        ),
        graph(
            "Lag of the event loop",
            "Good: a few milliseconds. Seconds of lag per second: above the line EventLoopBlocked opens a "
            "ticket, as some code computes or waits where it must not.",
            Query(
                f"sum by (instance) (rate(event_loop_lag_seconds_sum{{{HERE}}}[{RATE}]))",
                "{{instance}}",
            ),
            unit="s",
            limits=[Limit(limit("EventLoopBlocked", "event_loop_lag_seconds_sum"))],
        ),
        graph(
            "Out of time, and connections that ended early",
            "Good: zero. Deadlines by the stage that used the time up; callers that left; connections that "
            "we cut for being slow or too large.",
            Query(
                f"sum by (stage) (rate(request_deadline_exceeded_total{{{SERVICE}}}[{RATE}]))",
                "deadline in {{stage}}",
            ),
            Query(f"sum(rate(http_client_disconnects_total{{{SERVICE}}}[{RATE}]))", "caller left"),
            Query(
                f"sum by (why) (rate(connections_aborted_total{{{SERVICE}}}[{RATE}]))",
                "cut: {{why}}",
            ),
            unit="ops",
        ),
        graph(
            "Memory by instance",
            "Good: flat after the first minutes. A slope that survives the night is a leak; a saw-tooth with "
            "ApiRestartLoop is a process that dies of it.",
            Query(
                f"max by (instance) (process_resident_memory_bytes{{{HERE}}})",
                "{{instance}}",
            ),
            unit="bytes",
        ),
    ]


def _outside() -> list[Panel]:
    return [
        graph(
            "Probes that failed, by route",
            "Good: 0 %. The prober asks each critical route every five seconds, as a caller would, so this "
            "moves although nobody else is calling. Above the line at every replica ApiProbeFailing pages; "
            "at one replica alone it is ServiceReplicaFailing's (Landing shows the probes by replica).",
            Query(
                f'sum by (http_route) (increase(probe_requests_total{{{_PROBES},result!="ok"}}[1m]))'
                f" / sum by (http_route) (increase(probe_requests_total{{{_PROBES}}}[1m]))",
                "{{http_route}}",
            ),
            unit="percentunit",
            limits=[Limit(limit("ApiProbeFailing", 'result!="ok"'))],
            links=[_ONLY_THIS],
            top=1,
        ),
        graph(
            "Duration of probes, p90",
            "Good: what callers see, network included. Slower here than in “Latency” means that the time is "
            "lost before the service's first line of code.",
            Query(
                quantile(
                    0.9,
                    f"probe_duration_seconds_bucket{{{_PROBES}}}",
                    by="http_route",
                    window="1m",
                ),
                "{{http_route}}",
            ),
            unit="s",
        ),
        graph(
            "Requests by client version",
            "Good: new versions grow, old ones fade. The first twenty versions by name/major.minor, then "
            "“other”; only authenticated callers.",
            Query(
                "sum by (client_version) (rate("
                f"api_client_requests_total{{{SERVICE},{ROUTE}}}[{RATE}]))",
                "{{client_version}}",
            ),
            unit="reqps",
            stacked=True,
        ),
        number(
            "Running versions",
            "Good: one version, except while deploying. The number is how many replicas run it.",
            Query(
                f"count by (version, revision) (api_build_info{{{SERVICE}}})",
                "{{version}} {{revision}}",
            ),
            unit="short",
            width=HALF,
        ),
        number(
            "Time since the last start",
            "Good: since the last deploy. Three starts in a quarter of an hour open ApiRestartLoop.",
            Query(
                f"time() - max by (instance) (process_start_time_seconds{{{HERE}}})",
                "{{instance}}",
            ),
            unit="s",
            width=HALF,
        ),
    ]
