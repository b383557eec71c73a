"""The database as the service meets it: its pool, its statements, its schema, and the server behind."""

from alerting.service import Service
from dashboards import cache, meaning
from dashboards.foundation import models
from dashboards.frame import HERE, RATE, ROUTE, SCOPE, TO_ROUTE, framed, quantile
from dashboards.limits import limit, setting
from dashboards.links import runbook_url, traces_url
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
    states,
)

UID = "firedrill-database"

BACKGROUND = 'http_route=""'
"""Matcher of what no request asked for: a refresh that outlives its callers, the check of the schema."""
_SERVER = f'job="postgres",{SCOPE}'
_STATEMENTS = f'{HERE},db_system_name!="redis"'
_EXHAUSTED = Link(
    "Requests that got none", traces_url('span.firedrill.failure.code = "db_pool_exhausted"')
)


def dashboard(service: Service) -> models.Dashboard:
    return framed(
        service,
        UID,
        "Firedrill / Database",
        "From the caller that waits for a connection to the server that gives it.",
        [
            ("The pool", _pool(service)),
            ("Statements and transactions", _statements(service)),
            ("The server", _server(service)),
            ("The cache that replicas share", cache.panels()),
            ("The schema", _schema()),
        ],
    )


def held_by_route(of: str) -> tuple[Query, Query]:
    """Connections held by the routes chosen, and by work that no request asked for. of: matchers."""
    held = "db_client_connection_held"
    return (
        Query(
            f"sum by (http_route) (avg_over_time({held}{{{of},{ROUTE}}}[{RATE}]))",
            "{{http_route}}",
        ),
        Query(f"sum(avg_over_time({held}{{{of},{BACKGROUND}}}[{RATE}]))", "background work"),
    )


def _pool(service: Service) -> list[Panel]:
    return [
        graph(
            "Connections of the pool",
            "Good: used well under max, nobody pending. DbPoolSaturationHigh is a ticket at "
            f"{limit('DbPoolSaturationHigh', 'db_client_connection_count'):.0%} for ten minutes; callers "
            "that wait are what DbPoolExhausted pages about. Who holds them: “Connections held, by route”.",
            Query(
                f"sum by (db_client_connection_state) (db_client_connection_count{{{HERE}}})",
                "{{db_client_connection_state}}",
            ),
            Query(f"sum(db_client_connection_pending_requests{{{HERE}}})", "pending"),
            Query(f"sum(db_client_connection_max{{{HERE}}})", "max"),
            unit="short",
            colors={"used": AMBER, "idle": GREEN, "pending": RED},
            dashed=["max"],
            links=[Link("Runbook: pool exhausted", runbook_url("DbPoolExhausted"))],
        ),
        graph(
            "Wait for a connection",
            "Good: p95 of a few milliseconds. Waiting ends at the pool's timeout, the line where it is "
            "known. A dot is a request that waited: its trace shows who it was.",
            Query(
                quantile(0.95, f"db_client_connection_wait_time_seconds_bucket{{{HERE}}}"),
                "p95",
                exemplar=True,
            ),
            Query(
                quantile(0.5, f"db_client_connection_wait_time_seconds_bucket{{{HERE}}}"),
                "p50",
            ),
            unit="s",
            limits=at(setting(service, "pool_timeout_seconds")),
            colors=meaning.QUANTILES,
            links=[_EXHAUSTED],
        ),
        graph(
            "Callers that got no connection",
            "Good: zero. timeout: waited too long. waiter_limit: a queue was full. connect_gate: connecting "
            "failed a moment ago, so nobody tries. The first two are a full pool, the third a server that is "
            "not there.",
            Query(f"sum(rate(db_client_connection_timeouts_total{{{HERE}}}[{RATE}]))", "timeout"),
            Query(
                f"sum by (reason) (rate(db_client_connection_refused_total{{{HERE}}}[{RATE}]))",
                "{{reason}}",
            ),
            unit="ops",
            stacked=True,
            colors={"timeout": RED},
            links=[_EXHAUSTED],
        ),
        graph(
            "Connections held, by route",
            "Good: in proportion to traffic. Seconds of holding per second is connections. When the pool is "
            "full, the route at the top is the cause and the others its victims.",
            *held_by_route(HERE),
            unit="short",
            stacked=True,
            links=[TO_ROUTE],
        ),
        graph(
            "Oldest connection in use, by route",
            "Good: below a second. Above the line for a minute DbPoolLeakSuspected opens a ticket. Unlike "
            "the panel on the left it also sees what has not come back yet: a lock, a leak, a hang.",
            Query(
                "max by (http_route) "
                f"(db_client_connection_oldest_checkout_seconds{{{HERE},{ROUTE}}})",
                "{{http_route}}",
            ),
            Query(
                f"max(db_client_connection_oldest_checkout_seconds{{{HERE},{BACKGROUND}}})",
                "background work",
            ),
            unit="s",
            limits=[Limit(limit("DbPoolLeakSuspected", "oldest_checkout"))],
            links=[TO_ROUTE],
        ),
        graph(
            "Opening a connection, and failing to",
            "Good: rare and quick. Failures by reason: auth is a password, too_many the server's limit, "
            "refused and timeout the way there. DbAuthenticationFailed pages at three of them.",
            Query(
                quantile(
                    0.95, f"db_client_connection_create_time_seconds_bucket{{{HERE}}}", window="5m"
                ),
                "p95 of opening",
            ),
            Query(
                f"sum by (reason) (rate(db_connect_failures_total{{{HERE}}}[{RATE}])) > 0",
                "failed per second: {{reason}}",
            ),
            unit="short",
            colors={"failed.*": RED},
        ),
    ]


def _statements(service: Service) -> list[Panel]:
    has_round_trip = "database_probe" in service.features
    statements = f"sum(rate(db_client_operation_duration_seconds_count{{{_STATEMENTS}}}[{RATE}]))"
    return [
        graph(
            "Duration of statements, p95",
            "Good: milliseconds. SELECT up with all others flat is a plan or a lock on one table; all up "
            "together is the server.",
            Query(
                quantile(
                    0.95,
                    f"db_client_operation_duration_seconds_bucket{{{_STATEMENTS}}}",
                    by="db_operation_name",
                ),
                "{{db_operation_name}}",
            ),
            unit="s",
            limits=at(setting(service, "statement_timeout_seconds")),
        ),
        graph(
            "A statement: at the service, at the server, and on the way",
            "Good: milliseconds, and near each other. The service's line far above the server's: the time is "
            "lost between them. Then sessions idle in transaction wait for the network, and leak nothing."
            + (
                " “round trip” is an empty statement; the line is DbRoundTripSlow's ticket."
                if has_round_trip
                else ""
            ),
            Query(
                f"sum(rate(db_client_operation_duration_seconds_sum{{{_STATEMENTS}}}[{RATE}]))"
                f" / {statements}",
                "at the service",
            ),
            Query(
                f"sum(rate(pg_session_active_seconds_total{{{_SERVER}}}[{RATE}])) / {statements}",
                "at the server",
            ),
            Query(f"max(min_over_time(db_round_trip_seconds{{{HERE}}}[1m]))", "round trip"),
            unit="s",
            limits=[Limit(limit("DbRoundTripSlow", "[1m]"))] if has_round_trip else [],
            colors={"at the service": AMBER, "at the server": GREEN, "round trip": "text"},
            links=[Link("Runbook", runbook_url("DbRoundTripSlow"))],
        ),
        graph(
            "Failed statements by class of SQLSTATE",
            "Good: none but unique (two writers). lock_timeout is somebody who holds a table; "
            "statement_timeout a plan; undefined a migration that is missing; disconnect the network.",
            Query(
                "sum by (error_type) (rate(db_client_operation_duration_seconds_count"
                f'{{{_STATEMENTS},error_type!=""}}[{RATE}]))',
                "{{error_type}}",
            ),
            unit="ops",
            stacked=True,
            links=[
                Link(
                    "Traces: lock timeouts",
                    traces_url('span.firedrill.failure.code = "db_lock_timeout"'),
                )
            ],
        ),
        graph(
            "Transactions by outcome, and retries",
            "Good: committed, and rolled_back as often as callers err. commit_failed three times in two "
            "minutes pages (DbCommitFailures): what was answered 200 until then is safe, "
            "what follows is not.",
            Query(
                f"sum by (outcome) (rate(db_transactions_total{{{HERE}}}[{RATE}]))", "{{outcome}}"
            ),
            Query(
                f"sum by (reason) (rate(db_retries_total{{{HERE}}}[{RATE}])) > 0",
                "retried: {{reason}}",
            ),
            unit="ops",
            colors={"committed": GREEN, "rolled_back": AMBER, "commit_failed": RED},
        ),
    ]


def _server(service: Service) -> list[Panel]:
    return [
        states(
            "Database answers, by instance",
            "Good: up everywhere. Readiness' own connection, asked every five seconds, so that a full pool "
            "does not look like a dead server. Down on every instance for 25 s is PostgresDown.",
            Query(f"max by (instance) (db_up{{{HERE}}})", "{{instance}}"),
            words={"1": ("up", GREEN), "0": ("down", RED)},
            width=8,
            height=8,
            links=[Link("Runbook: PostgresDown", runbook_url("PostgresDown"))],
        ),
        graph(
            "Connections at the server, by client",
            "Good: the pools of the service and little else. PostgresConnectionsHigh opens a ticket at "
            f"{limit('PostgresConnectionsHigh', 'service:pg_client_connections:ratio'):.0%} of max, "
            "PostgresConnectionsExhausted pages when nobody else gets in: the line on top is who to ask.",
            Query(
                "sum by (usename, application_name, client_addr) "
                f"(pg_client_connections{{{_SERVER}}})",
                "{{application_name}} ({{usename}} from {{client_addr}})",
            ),
            Query(f"max(pg_client_connections_limit{{{_SERVER}}})", "max"),
            unit="short",
            dashed=["max"],
            links=[Link("Runbook", runbook_url("PostgresConnectionsHigh"))],
        ),
        graph(
            "Longest transaction at the server",
            "Good: under a second. The holder of a lock shows here as a line that rises by a second per "
            "second, whether it is ours or somebody at a prompt.",
            Query(
                f"max by (state) (pg_stat_activity_max_tx_duration{{{_SERVER}}})",
                "{{state}}",
            ),
            unit="s",
            limits=at(setting(service, "idle_in_transaction_timeout_seconds"), AMBER),
        ),
        graph(
            "Locks at the server, by mode",
            "Good: accessshare and rowexclusive, moving with traffic. accessexclusive is DDL or LOCK TABLE: "
            "everybody else on that table waits.",
            Query(f"sum by (mode) (pg_locks_count{{{_SERVER}}}) > 0", "{{mode}}"),
            unit="short",
            width=16,
            stacked=True,
            colors={"accessexclusivelock": RED},
        ),
        number(
            "Exporter reaches the server",
            "Good: yes. The exporter has a login of its own: no here and up on the left is its password.",
            Query(f"max by (instance) (pg_up{{{_SERVER}}})", "{{instance}}"),
            unit="none",
            width=THIRD,
            height=8,
            base=RED,
            limits=[Limit(1, GREEN)],
            words={"1": ("yes", GREEN), "0": ("no", RED)},
        ),
    ]


def _schema() -> list[Panel]:
    return [
        rows(
            "Revision of the schema, needed and there",
            "Good: one line an instance, both the same. Different: the migration ran before or after the "
            "code; a few minutes of that belong to a deploy.",
            Query(f"max by (instance, expected, actual) (schema_revision_info{{{HERE}}}) > 0"),
            columns={"instance": "Instance", "expected": "Needed", "actual": "There"},
            value=None,
            width=8,
            height=6,
            nothing="not compared yet",
        ),
        rows(
            "Objects that differ, by kind",
            "Good: none. column, table, type or nullability will fail requests (DbSchemaMismatchErrors); "
            "index only slows them; extra is left over. SchemaDriftDetected opens a ticket after a minute.",
            Query(f"max by (drift_kind) (schema_drift_objects{{{HERE}}}) > 0"),
            columns={"drift_kind": "Kind"},
            value="Objects",
            width=8,
            height=6,
            limits=[Limit(1, AMBER)],
            column_links={"Kind": [Link("Runbook", runbook_url("SchemaDriftDetected"))]},
            nothing="the schema is what the code needs",
        ),
        number(
            "Last comparison",
            "Good: under a minute. Older than the limit SchemaCheckStale opens a ticket: then “none differ” "
            "says nothing.",
            Query(
                "time() - min by (instance) "
                f"(schema_check_last_success_timestamp_seconds{{{HERE}}})",
                "{{instance}}",
            ),
            unit="s",
            width=4,
            height=6,
            limits=[Limit(limit("SchemaCheckStale", "schema_check_last_success"))],
        ),
        graph(
            "Answers without optional columns",
            "Good: none. The service goes on without a group of columns that is missing, and says so in "
            "`degraded`.",
            Query(
                f"sum by (group) (rate(degraded_responses_total{{{HERE}}}[{RATE}]))", "{{group}}"
            ),
            unit="reqps",
            width=4,
            height=6,
        ),
    ]
