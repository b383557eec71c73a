"""The instruments of the kit: what it measures in every application, with unit, labels and buckets.

An application's own instruments go into the same REGISTRY. Labels are closed sets (route templates, codes,
reasons): never an id, a path, a host or text from a caller. Nothing here has a series before its first
fact, except for what `known` creates: a counter that is born at 1 is invisible to `increase()`.

Names follow OpenTelemetry semantic conventions as Prometheus spells them.
"""

from collections.abc import Mapping, Sequence
from itertools import product
from typing import TypeAlias

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from firedrill_kit.telemetry.collectors import CallbackGauge, register_process_collectors

REGISTRY = CollectorRegistry(auto_describe=True)
register_process_collectors(REGISTRY)

Known: TypeAlias = tuple[Counter | Gauge | Histogram, Mapping[str, Sequence[str]]]
"""An instrument and all values that each of its labels may take."""

# --- HTTP server ------------------------------------------------------------------------------------
HTTP_REQUEST_SECONDS = Histogram(
    "http_server_request_duration_seconds",
    "Time from the end of the request to the start of the answer, failed requests included.",
    ["http_request_method", "url_scheme", "http_route", "http_response_status_code", "error_type"],
    # The bounds of the OpenTelemetry HTTP conventions; 0.25 and 5 are also the SLO thresholds.
    buckets=(0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10),
    registry=REGISTRY,
)
HTTP_ACTIVE_REQUESTS = Gauge(
    "http_server_active_requests",
    "Requests being answered now.",
    ["http_request_method", "url_scheme", "http_route"],
    registry=REGISTRY,
)
FAILURES = Counter(
    "app_failures_total",
    "Problems answered, by code of the failure taxonomy.",
    ["code", "http_route"],
    registry=REGISTRY,
)
VALIDATION_ERRORS = Counter(
    "http_request_validation_errors_total",
    "Requests that a field made a 422. Fields are those of the contract: a name that it does not have is _unknown, a key of a map [key].",
    ["http_route", "field", "error_type"],
    registry=REGISTRY,
)
CLIENT_REQUESTS = Counter(
    "api_client_requests_total",
    "Requests by the X-Client-Version of authenticated callers: the first 20 distinct, then other.",
    ["http_route", "client_version", "http_request_method", "http_response_status_code"],
    registry=REGISTRY,
)
CLIENT_CALLERS = CallbackGauge(
    "api_client_callers",
    "Distinct authenticated callers of the last two minutes by their latest answer: rejected is a 422, served is below 400.",
    ["http_route", "http_request_method", "client_version", "answer"],
    registry=REGISTRY,
)
CLIENT_DISCONNECTS = Counter(
    "http_client_disconnects_total",
    "Requests whose caller left before the answer.",
    registry=REGISTRY,
)
UNHANDLED_EXCEPTIONS = Counter(
    "unhandled_exceptions_total",
    "Exceptions that nothing named; alert on app_failures_total{code=internal_error}, this says the class.",
    ["exception_type"],
    registry=REGISTRY,
)
EVENT_LOOP_LAG_SECONDS = Histogram(
    "event_loop_lag_seconds",
    "How late a timer of the main loop fired; sampled every 100 ms.",
    buckets=(0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5),
    registry=REGISTRY,
)

# --- database client --------------------------------------------------------------------------------
_POOL_LABEL = "db_client_connection_pool_name"
POOL_CONNECTIONS = Gauge(
    "db_client_connection_count",
    "Connections of the pool by state, read from the pool at scrape.",
    [_POOL_LABEL, "db_client_connection_state"],
    registry=REGISTRY,
)
POOL_MAX = Gauge(
    "db_client_connection_max", "Connections the pool may open.", [_POOL_LABEL], registry=REGISTRY
)
POOL_PENDING = Gauge(
    "db_client_connection_pending_requests",
    "Callers waiting for a connection now.",
    [_POOL_LABEL],
    registry=REGISTRY,
)
POOL_WAIT_SECONDS = Histogram(
    "db_client_connection_wait_time_seconds",
    "Time to get a connection, timed-out waits included.",
    [_POOL_LABEL],
    # Fine around a pool timeout of 0.25 s: the share of waits that end there is the signal. SQLAlchemy's
    # own timeout is 30 s.
    buckets=(0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.5, 1, 5, 30),
    registry=REGISTRY,
)
POOL_USE_SECONDS = Histogram(
    "db_client_connection_use_time_seconds",
    "Time a connection was held, by the route that held it.",
    [_POOL_LABEL, "http_route"],
    buckets=(0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
    registry=REGISTRY,
)
POOL_CREATE_SECONDS = Histogram(
    "db_client_connection_create_time_seconds",
    "Time to open a connection.",
    [_POOL_LABEL],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5),
    registry=REGISTRY,
)
POOL_TIMEOUTS = Counter(
    "db_client_connection_timeouts_total",
    "Waits for a connection that ended without one.",
    [_POOL_LABEL],
    registry=REGISTRY,
)
POOL_REFUSED = Counter(
    "db_client_connection_refused_total",
    "Checkouts refused without waiting.",
    [_POOL_LABEL, "reason"],
    registry=REGISTRY,
)
POOL_HELD = CallbackGauge(
    "db_client_connection_held",
    "Connections held now by each route, 0 when it holds none. During a lock nothing is returned, so use_time says nothing.",
    [_POOL_LABEL, "http_route"],
    registry=REGISTRY,
)
POOL_OLDEST_CHECKOUT_SECONDS = CallbackGauge(
    "db_client_connection_oldest_checkout_seconds",
    "Age of the connection held longest by each route, 0 when it holds none.",
    [_POOL_LABEL, "http_route"],
    registry=REGISTRY,
)
DB_OPERATION_SECONDS = Histogram(
    "db_client_operation_duration_seconds",
    "Duration of statements; error_type is a class of SQLSTATEs, empty when all is well.",
    [
        "db_system_name",
        "db_namespace",
        "db_collection_name",
        "db_operation_name",
        "db_response_status_code",
        "error_type",
    ],
    buckets=(0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5),
    registry=REGISTRY,
)
DB_CONNECT_FAILURES = Counter(
    "db_connect_failures_total",
    "Connections that could not be opened.",
    ["reason"],
    registry=REGISTRY,
)
DB_TRANSACTIONS = Counter(
    "db_transactions_total", "Transactions by their end.", ["outcome"], registry=REGISTRY
)

# --- telemetry about telemetry ------------------------------------------------------------------------
TELEMETRY_SPANS = Counter(
    "telemetry_spans_total", "Spans by what became of them.", ["result"], registry=REGISTRY
)
TELEMETRY_QUEUE = Gauge("telemetry_queue_spans", "Spans waiting for export.", registry=REGISTRY)
TELEMETRY_QUEUE_CAPACITY = Gauge(
    "telemetry_queue_capacity_spans", "Spans that fit the queue.", registry=REGISTRY
)
LOG_RECORDS = Counter(
    "log_records_total",
    "Log lines by what became of them.",
    ["level", "result"],
    registry=REGISTRY,
)
TELEMETRY_ERRORS = Counter(
    "telemetry_errors_total",
    "Bugs of the telemetry itself, swallowed by the guard.",
    ["where"],
    registry=REGISTRY,
)
BUILD_INFO = Gauge(
    "api_build_info", "1, labelled with what runs.", ["version", "revision"], registry=REGISTRY
)
# --- closed label sets --------------------------------------------------------------------------------
CONNECT_REASONS = ("refused", "timeout", "auth", "too_many", "starting", "other")
DB_ERROR_TYPES = (
    "statement_timeout",
    "lock_timeout",
    "command_timeout",
    "disconnect",
    "unique",
    "not_null",
    "fk",
    "check",
    "enum",
    "cached_plan",
    "undefined",
    "privilege",
    "in_failed_tx",
    "serialization",
    "deadlock",
    "data",
    "other",
)


KNOWN: tuple[Known, ...] = (
    (TELEMETRY_SPANS, {"result": ("exported", "dropped_queue_full", "failed")}),
    (
        LOG_RECORDS,
        {"level": ("debug", "info", "warning", "error"), "result": ("written", "dropped")},
    ),
    (TELEMETRY_ERRORS, {"where": ("http", "logs", "traces", "collectors", "database")}),
)


def known(*instruments: Known) -> None:
    """Create the series of every combination of these label values."""
    for instrument, labels in instruments:
        for values in product(*labels.values()):
            instrument.labels(**dict(zip(labels, values, strict=True)))


def of_pool(name: str) -> tuple[Known, ...]:
    """Return what `known` creates for a pool that is measured under this name."""
    pool = {_POOL_LABEL: (name,)}
    return (
        (POOL_CONNECTIONS, {**pool, "db_client_connection_state": ("idle", "used")}),
        (POOL_MAX, pool),
        (POOL_PENDING, pool),
        (POOL_WAIT_SECONDS, pool),
        (POOL_CREATE_SECONDS, pool),
        (POOL_TIMEOUTS, pool),
        (DB_CONNECT_FAILURES, {"reason": CONNECT_REASONS}),
        (DB_TRANSACTIONS, {"outcome": ("committed", "rolled_back", "commit_failed")}),
    )


known(*KNOWN)
