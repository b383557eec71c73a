"""The catalogue: the service's own instruments, beside those of the kit (`firedrill_kit/metrics.py`).

Dashboards, rules, runbooks and tests look names up here, so an instrument is a named constant and
nothing creates one elsewhere. Labels are closed sets (route templates, codes, reasons): never an id, a
path, a host or text from a caller. A newcomer's usual mistake is to forget that a counter which is born
at 1 is invisible to `increase()`: add the label sets of a new instrument to `_KNOWN` or to `touch()`.

Names follow OpenTelemetry semantic conventions as Prometheus spells them.
"""

from collections.abc import Iterable

from prometheus_client import Counter, Gauge, Histogram

from firedrill_kit.metrics import (
    FAILURES,
    HTTP_ACTIVE_REQUESTS,
    HTTP_REQUEST_SECONDS,
    POOL_REFUSED,
    POOL_USE_SECONDS,
    REGISTRY,
    Known,
    known,
)
from firedrill_kit.telemetry.labels import error_type_of
from service import failures

POOL = "app"
PROVIDER = "google"
"""The one OAuth provider; also the name of its circuit breaker, which alerts join on."""

# --- HTTP server ------------------------------------------------------------------------------------
CONNECTIONS_ABORTED = Counter(
    "connections_aborted_total", "Connections that the service cut.", ["why"], registry=REGISTRY
)
DEADLINE_EXCEEDED = Counter(
    "request_deadline_exceeded_total",
    "Requests out of time, by the stage they were in.",
    ["stage"],
    registry=REGISTRY,
)
LOAD_SHED = Counter(
    "load_shed_total", "Requests refused at admission.", ["class"], registry=REGISTRY
)
ADMITTED_REQUESTS = Gauge(
    "http_server_admitted_requests",
    "Requests past admission and not yet answered.",
    ["class"],
    registry=REGISTRY,
)

# --- database client --------------------------------------------------------------------------------
DB_UP = Gauge(
    "db_up",
    "1 when readiness' own connection answered within 1 s; tried every 5 s.",
    registry=REGISTRY,
)
DB_CONNECT_UP = Gauge(
    "db_connect_up",
    "1 when readiness could open its last new connection; tried every 30 s, every 5 s once it failed.",
    registry=REGISTRY,
)
DB_ROUND_TRIP_SECONDS = Gauge(
    "db_round_trip_seconds",
    "From asking readiness' own connection for nothing to its answer: the way there and back.",
    registry=REGISTRY,
)
DB_RETRIES = Counter(
    "db_retries_total", "Units of work that were tried again.", ["reason"], registry=REGISTRY
)

# --- shared cache -----------------------------------------------------------------------------------
CACHE_OPERATIONS = Counter(
    "cache_operations_total",
    "Calls of the shared cache by what they are for; gated ones were not made.",
    ["purpose", "result"],
    registry=REGISTRY,
)
CACHE_ERRORS = Counter(
    "cache_errors_total",
    "Calls of the shared cache that failed.",
    ["purpose", "reason"],
    registry=REGISTRY,
)
CACHE_GATE_CLOSED = Gauge(
    "cache_gate_closed",
    "1 while no call of the shared cache is made because one has failed; 0 also where there is no cache.",
    registry=REGISTRY,
)

# --- who is calling ---------------------------------------------------------------------------------
TOKENS_ACCEPTED = Counter(
    "auth_tokens_accepted_total", "Callers let in.", ["token_format"], registry=REGISTRY
)
TOKENS_REJECTED = Counter(
    "auth_tokens_rejected_total",
    "Tokens refused, by the fine reason.",
    ["token_format", "reason"],
    registry=REGISTRY,
)
CSRF_REJECTED = Counter(
    "csrf_rejected_total", "Requests refused as possibly forged.", ["reason"], registry=REGISTRY
)

# --- OAuth and the calendar provider ------------------------------------------------------------------
OAUTH_REFRESH = Counter(
    "oauth_refresh_total",
    "Refreshes of grants by outcome.",
    ["provider", "outcome"],
    registry=REGISTRY,
)
OAUTH_REFRESH_SECONDS = Histogram(
    "oauth_refresh_duration_seconds",
    "Duration of a refresh, lease and storage included.",
    ["provider"],
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
    registry=REGISTRY,
)
OAUTH_COALESCED = Counter(
    "oauth_refresh_coalesced_total",
    "Callers that waited for another's refresh.",
    ["provider", "scope"],
    registry=REGISTRY,
)
OAUTH_IN_FLIGHT = Gauge(
    "oauth_refresh_in_flight",
    "Refreshes running in this process.",
    ["provider"],
    registry=REGISTRY,
)
OAUTH_LEASE_TAKEOVERS = Counter(
    "oauth_lease_takeovers_total",
    "Leases taken over from a holder that did not come back.",
    ["provider"],
    registry=REGISTRY,
)
OAUTH_GRANTS = Gauge(
    "oauth_grants",
    "Grants by status, counted in the database every 15 s; every replica says the same: max, never sum.",
    ["provider", "status"],
    registry=REGISTRY,
)
HTTP_CLIENT_SECONDS = Histogram(
    "http_client_request_duration_seconds",
    "Calls to other services, one observation per attempt.",
    [
        "http_request_method",
        "server_address",
        "server_port",
        "http_response_status_code",
        "error_type",
    ],
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
    registry=REGISTRY,
)
UPSTREAM_RATE_LIMITED = Counter(
    "upstream_rate_limited_total",
    "Calls that a peer refused for rate or quota.",
    ["peer", "scope"],
    registry=REGISTRY,
)
UPSTREAM_BAD_RESPONSES = Counter(
    "upstream_bad_responses_total",
    "Answers that do not keep the peer's own contract.",
    ["peer", "why"],
    registry=REGISTRY,
)
BREAKER_STATE = Gauge(
    "circuit_breaker_state",
    "1 for the state the breaker is in, 0 for the others.",
    ["breaker", "state"],
    registry=REGISTRY,
)
BREAKER_TRANSITIONS = Counter(
    "circuit_breaker_transitions_total",
    "Changes of the breaker's state.",
    ["breaker", "to"],
    registry=REGISTRY,
)
RETRY_ATTEMPTS = Counter(
    "retry_attempts_total",
    "Repeated attempts at calls to other services.",
    ["operation", "outcome"],
    registry=REGISTRY,
)
SYNC_EVENTS = Counter(
    "calendar_sync_events_total",
    "Calendar events changed by syncs.",
    ["change"],
    registry=REGISTRY,
)
SYNC_EVENTS_SKIPPED = Counter(
    "calendar_sync_events_skipped_total",
    "Calendar events that a sync left out because they cannot be read, by what is wrong with them.",
    ["reason"],
    registry=REGISTRY,
)

# --- stored data and schema -------------------------------------------------------------------------
SETTINGS_BYTES = Histogram(
    "settings_payload_bytes",
    "Size of settings documents read and written.",
    buckets=(256, 1024, 4096, 16384, 65536, 262144, 1048576, 16777216),
    registry=REGISTRY,
)
DEGRADED_RESPONSES = Counter(
    "degraded_responses_total",
    "Answers that leave out an optional group of columns.",
    ["group"],
    registry=REGISTRY,
)
SCHEMA_DRIFT = Gauge(
    "schema_drift_objects",
    "Objects in which the database differs from what the code needs.",
    ["drift_kind"],
    registry=REGISTRY,
)
SCHEMA_DRIFT_INFO = Gauge(
    "schema_drift_info",
    "1 for each object that statements of this version fail for, named as the code needs it.",
    ["drift_kind", "drift_object"],
    registry=REGISTRY,
)
SCHEMA_LAST_CHECK = Gauge(
    "schema_check_last_success_timestamp_seconds",
    "When the schema was last compared without error.",
    registry=REGISTRY,
)
SCHEMA_REVISION = Gauge(
    "schema_revision_info",
    "1, labelled with the migration that the code needs and the one that the database has.",
    ["expected", "actual"],
    registry=REGISTRY,
)

# --- closed label sets --------------------------------------------------------------------------------
TOKEN_FORMATS = ("enhanced", "legacy", "session")
TOKEN_REJECTIONS = (
    "malformed",
    "claims_missing",
    "signature",
    "expired",
    "not_yet_valid",
    "audience",
    "issuer",
    "conflict",
    "mismatch",
    "unknown_subject",
    "too_large",
)
REFRESH_OUTCOMES = (
    "success",
    "superseded",
    "invalid_grant",
    "invalid_client",
    "provider_error",
    "timeout",
    "network",
    "rate_limited",
    "lost_rotation",
    "decrypt_failed",
)
SKIP_REASONS = ("no_times", "not_a_time", "out_of_range", "unknown_time_zone", "malformed")
CACHE_PURPOSES = ("sign_in", "settings", "quota", "probe")
CACHE_ERROR_REASONS = (
    "connection",
    "timeout",
    "auth",
    "full",
    "read_only",
    "loading",
    "busy",
    "other",
)
ADMISSION_CLASSES = ("read", "write", "calendar", "login")
BREAKER_STATES = ("closed", "open", "half_open")

_KNOWN: tuple[Known, ...] = (
    (
        CONNECTIONS_ABORTED,
        {
            "why": (
                "slow_header",
                "slow_body",
                "slow_reader",
                "header_too_large",
                "body_too_large",
            )
        },
    ),
    (
        DEADLINE_EXCEEDED,
        {"stage": ("admission", "auth", "pool", "database", "upstream", "render")},
    ),
    (LOAD_SHED, {"class": ADMISSION_CLASSES}),
    (ADMITTED_REQUESTS, {"class": ADMISSION_CLASSES}),
    (
        POOL_REFUSED,
        {"db_client_connection_pool_name": (POOL,), "reason": ("waiter_limit", "connect_gate")},
    ),
    (DB_RETRIES, {"reason": ("40001", "40P01", "disconnect", "cached_plan")}),
    (
        CACHE_OPERATIONS,
        {"purpose": CACHE_PURPOSES, "result": ("hit", "miss", "error", "gated")},
    ),
    (CACHE_ERRORS, {"purpose": CACHE_PURPOSES, "reason": CACHE_ERROR_REASONS}),
    (TOKENS_ACCEPTED, {"token_format": TOKEN_FORMATS}),
    (TOKENS_REJECTED, {"token_format": (*TOKEN_FORMATS, "unknown"), "reason": TOKEN_REJECTIONS}),
    (
        CSRF_REJECTED,
        {
            "reason": (
                "missing",
                "malformed",
                "cookie",
                "signature",
                "session",
                "expired",
                "fetch_site",
                "origin",
            )
        },
    ),
    (OAUTH_REFRESH, {"provider": (PROVIDER,), "outcome": REFRESH_OUTCOMES}),
    (OAUTH_REFRESH_SECONDS, {"provider": (PROVIDER,)}),
    (OAUTH_COALESCED, {"provider": (PROVIDER,), "scope": ("process", "cluster")}),
    (OAUTH_IN_FLIGHT, {"provider": (PROVIDER,)}),
    (OAUTH_LEASE_TAKEOVERS, {"provider": (PROVIDER,)}),
    (UPSTREAM_RATE_LIMITED, {"peer": (PROVIDER,), "scope": ("user", "project")}),
    (
        UPSTREAM_BAD_RESPONSES,
        {
            "peer": (PROVIDER,),
            "why": ("not_json", "truncated", "too_large", "shape", "endless_pages"),
        },
    ),
    (BREAKER_STATE, {"breaker": (PROVIDER,), "state": BREAKER_STATES}),
    (BREAKER_TRANSITIONS, {"breaker": (PROVIDER,), "to": BREAKER_STATES}),
    (
        RETRY_ATTEMPTS,
        {
            "operation": ("oauth_refresh", "calendar_fetch"),
            "outcome": ("retried", "succeeded", "exhausted", "no_budget"),
        },
    ),
    (SYNC_EVENTS, {"change": ("created", "updated", "deleted")}),
    (SYNC_EVENTS_SKIPPED, {"reason": SKIP_REASONS}),
    (DEGRADED_RESPONSES, {"group": ("ai_models",)}),
    (
        SCHEMA_DRIFT,
        {
            "drift_kind": (
                "table",
                "column",
                "type",
                "nullability",
                "enum",
                "check",
                "foreign_key",
                "index",
                "privilege",
                "revision",
                "extra",
                "comparer_failed",
            )
        },
    ),
)


def touch(
    scheme: str,
    statuses: Iterable[tuple[str, str, int]],
    codes: Iterable[tuple[str, str]],
) -> None:
    """Create the series of the routes; those whose labels stand here exist since the import.

    scheme: of the address that callers use. statuses: (method, route template, status) and codes:
    (route template, failure code), as the OpenAPI document declares them.
    Raises ValueError for a code that is not in the taxonomy.
    """
    for method, route, status in statuses:
        HTTP_REQUEST_SECONDS.labels(method, scheme, route, str(status), error_type_of(status))
        HTTP_ACTIVE_REQUESTS.labels(method, scheme, route)
        POOL_USE_SECONDS.labels(POOL, route)
    for route, code in codes:
        if code not in failures.MODES:
            message = f"{code!r} of {route} is not a failure mode"
            raise ValueError(message)
        FAILURES.labels(code, route)


known(*_KNOWN)
