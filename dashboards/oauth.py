"""OAuth grants and the calendar: one refresh at a time, and whose fault it is when it fails."""

from collections.abc import Iterable

from alerting.service import Service
from dashboards import meaning
from dashboards.foundation import models
from dashboards.frame import HERE, RATE, framed, quantile
from dashboards.limits import limit
from dashboards.links import runbook_url, traces_url
from dashboards.panels import (
    AMBER,
    GREEN,
    PURPLE,
    RED,
    Limit,
    Link,
    Panel,
    Query,
    graph,
    states,
)

UID = "firedrill-oauth"

_REFRESHES = f"oauth_refresh_total{{{HERE}}}"
_TRACES = Link("Traces of refreshes", traces_url('name = "oauth.refresh"'))
_PROVIDER = Link("Runbook: provider down", runbook_url("CalendarProviderDown"))


def dashboard(service: Service) -> models.Dashboard:
    return framed(
        service,
        UID,
        "Firedrill / OAuth and calendar",
        "One refresh per grant, for all callers and all replicas; and whose fault it is when it fails.",
        [
            ("Refreshes", _refreshes()),
            ("Under concurrency", _concurrency()),
            ("The provider", _provider()),
            ("Calendar", _calendar(service)),
        ],
    )


def _refreshes() -> list[Panel]:
    failing = limit("CalendarProviderDown", "oauth_refresh_total")
    everything = f"sum(increase({_REFRESHES}[5m]))"
    return [
        graph(
            "Refreshes by outcome",
            "Good: success; superseded is a replica that came second and used what the first one got. "
            "Everything else is split on the right by who has to act.",
            Query(f"sum by (outcome) (rate({_REFRESHES}[{RATE}]))", "{{outcome}}"),
            unit="ops",
            stacked=True,
            colors=meaning.OUTCOMES,
            links=[_TRACES],
        ),
        graph(
            "Failed refreshes by who has to act",
            "Good: user at a few percent, the others 0 %. operator is our secret, our key or a rotation that "
            "we lost; provider above the line pages CalendarProviderDown.",
            *(
                Query(
                    f'sum(increase(oauth_refresh_total{{{HERE},outcome=~"{_any(outcomes)}"}}[5m]))'
                    f" / {everything}",
                    who,
                )
                for who, outcomes in meaning.FAULTS.items()
            ),
            unit="percentunit",
            limits=[Limit(failing)],
            colors=meaning.WHO,
            links=[
                _PROVIDER,
                Link("Runbook: our credentials", runbook_url("OAuthClientCredentialRejected")),
            ],
            top=1,
        ),
        graph(
            "Grants by status",
            "Good: ok, with some expiring on their way to a refresh. reauth_required in a wave is a mass "
            "revocation (OAuthGrantRevocationSpike); scope_missing opens no calendar until its user says "
            "yes to that; misconfigured is ours. Every replica counts the same "
            "database, so this is a maximum, not a sum.",
            Query(f"max by (status) (oauth_grants{{{HERE}}})", "{{status}}"),
            unit="short",
            stacked=True,
            colors={
                "ok": GREEN,
                "expiring": "blue",
                "reauth_required": AMBER,
                "scope_missing": "yellow",
                "misconfigured": RED,
            },
        ),
    ]


def _any(names: Iterable[str]) -> str:
    return "|".join(names)


def _concurrency() -> list[Panel]:
    return [
        graph(
            "Callers that waited for another's refresh",
            "Good: as many as arrive together, and one call to the provider for each grant. process: waited "
            "in this replica; cluster: for another replica's lease.",
            Query(
                f"sum by (scope) (rate(oauth_refresh_coalesced_total{{{HERE}}}[{RATE}]))",
                "{{scope}}",
            ),
            unit="ops",
            stacked=True,
        ),
        graph(
            "Refreshes now, and leases taken over",
            "Good: a few in flight, no take-over. A take-over means that a replica died, or stood still, in "
            "the middle of a refresh: its user's token may be lost (OAuthRotationLost).",
            Query(
                f"sum by (instance) (oauth_refresh_in_flight{{{HERE}}})", "in flight {{instance}}"
            ),
            Query(
                f"sum by (instance) (increase(oauth_lease_takeovers_total{{{HERE}}}[{RATE}]))",
                "taken over by {{instance}}",
            ),
            unit="short",
            colors={"taken over .*": RED},
            links=[Link("Runbook: rotation lost", runbook_url("OAuthRotationLost"))],
        ),
        graph(
            "Duration of a refresh",
            "Good: one call to the provider plus a few milliseconds of lease and storage. Callers of "
            "calendar routes wait this long, others never.",
            Query(
                quantile(0.5, f"oauth_refresh_duration_seconds_bucket{{{HERE}}}", window="5m"),
                "p50",
            ),
            Query(
                quantile(0.99, f"oauth_refresh_duration_seconds_bucket{{{HERE}}}", window="5m"),
                "p99",
                exemplar=True,
            ),
            unit="s",
            colors=meaning.QUANTILES,
            links=[_TRACES],
        ),
    ]


def _provider() -> list[Panel]:
    calls = "http_client_request_duration_seconds_count"
    return [
        states(
            "Circuit breaker, by instance",
            "Good: closed. Open: calls to the provider are not even tried, so that they cost callers no "
            "time; half open lets one through to see. Each process has a breaker of its own.",
            Query(
                "max by (breaker, instance) ("
                f'2 * circuit_breaker_state{{{HERE},state="open"}}'
                f' + ignoring (state) circuit_breaker_state{{{HERE},state="half_open"}})',
                "{{breaker}} {{instance}}",
            ),
            words={"0": ("closed", GREEN), "1": ("half open", AMBER), "2": ("open", RED)},
            width=8,
            height=8,
            links=[_PROVIDER],
        ),
        graph(
            "Latency of the provider",
            "Good: as ever. No database connection is held meanwhile; a provider that hangs costs calendar "
            "routes their deadline and nobody else anything.",
            Query(
                quantile(
                    0.5,
                    f"http_client_request_duration_seconds_bucket{{{HERE}}}",
                    by="server_address",
                ),
                "p50 {{server_address}}",
            ),
            Query(
                quantile(
                    0.99,
                    f"http_client_request_duration_seconds_bucket{{{HERE}}}",
                    by="server_address",
                ),
                "p99 {{server_address}}",
                exemplar=True,
            ),
            unit="s",
            colors=meaning.QUANTILES,
        ),
        graph(
            "Calls to the provider by status",
            "Good: 200. An answer has a status; a call without one has the reason why there is none.",
            Query(
                f"sum by (http_response_status_code) (rate({calls}{{{HERE},"
                f'http_response_status_code!=""}}[{RATE}])) > 0',
                "{{http_response_status_code}}",
            ),
            Query(
                f'sum by (error_type) (rate({calls}{{{HERE},http_response_status_code=""}}[{RATE}])) > 0',
                "{{error_type}}",
            ),
            unit="reqps",
            stacked=True,
            colors={"[a-z].*": PURPLE} | meaning.STATUSES,
        ),
        graph(
            "Requests refused by the open breaker",
            "Good: none. What callers see of it: 503 provider_circuit_open with Retry-After, at once.",
            Query(
                "sum by (http_route) (rate("
                f'app_failures_total{{{HERE},code="provider_circuit_open"}}[{RATE}]))',
                "{{http_route}}",
            ),
            unit="reqps",
            stacked=True,
            links=[_PROVIDER],
        ),
        graph(
            "Retries by outcome",
            "Good: few, and succeeded. exhausted and no_budget: repeating does not help, and the budget "
            "keeps us from making the provider's trouble worse.",
            Query(
                f"sum by (operation, outcome) (rate(retry_attempts_total{{{HERE}}}[{RATE}]))",
                "{{operation}} {{outcome}}",
            ),
            unit="ops",
            stacked=True,
            colors=meaning.RETRIES,
        ),
        graph(
            "Refused for rate or quota, and unusable answers",
            "Good: none. user is one user's limit; project is the quota of all of us "
            "(ProviderQuotaExhausted). Unusable answers break the provider's own contract.",
            Query(
                f"sum by (scope) (rate(upstream_rate_limited_total{{{HERE}}}[{RATE}]))",
                "limit of the {{scope}}",
            ),
            Query(
                f"sum by (why) (rate(upstream_bad_responses_total{{{HERE}}}[{RATE}]))",
                "unusable: {{why}}",
            ),
            unit="ops",
            links=[Link("Runbook: quota", runbook_url("ProviderQuotaExhausted"))],
        ),
    ]


def _calendar(service: Service) -> list[Panel]:
    found: list[Panel] = [
        graph(
            "Calendar events changed by syncs",
            "Good: the shape of the day. A wave of deleted is the provider answering an empty calendar, or a "
            "sync token that was thrown away.",
            Query(
                f"sum by (change) (rate(calendar_sync_events_total{{{HERE}}}[{RATE}]))",
                "{{change}}",
            ),
            unit="ops",
            stacked=True,
            colors={"created": GREEN, "updated": "blue", "deleted": AMBER},
        ),
        graph(
            "Calendar events skipped by syncs",
            "Good: none, or one now and then: an event that cannot be read is left out, and the rest of its "
            "calendar is stored. The log names event and field (sync_event_skipped). Many at once: "
            "the provider has changed its format (ProviderBadPayload says how to mend it).",
            Query(
                f"sum by (reason) (increase(calendar_sync_events_skipped_total{{{HERE}}}[{RATE}]))",
                "{{reason}}",
            ),
            unit="short",
            stacked=True,
            links=[Link("Runbook: unusable answers", runbook_url("ProviderBadPayload"))],
        ),
    ]
    return [*found, _asked_of_provider(service)] if service.provider_routes else found


def _asked_of_provider(service: Service) -> Panel:
    return graph(
        "Calendar requests by status",
        "Good: 200. 409 asks the user to connect again, 503 is the breaker, 504 the provider's silence.",
        Query(
            "sum by (http_response_status_code) (rate("
            "http_server_request_duration_seconds_count"
            f'{{{HERE},http_route=~"{service.provider_routes}"}}[{RATE}])) > 0',
            "{{http_response_status_code}}",
        ),
        unit="reqps",
        stacked=True,
        colors=meaning.STATUSES,
        links=[
            Link(
                "Traces",
                traces_url(
                    "span.http.response.status_code = ${__field.labels.http_response_status_code}"
                    f' && span.http.route =~ "{service.provider_routes}"'
                ),
            )
        ],
    )
