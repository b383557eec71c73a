"""What is compared: each way of instrumenting the same application, and what it promises to deliver."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

ENDPOINTS: Mapping[str, str] = {"items": "/items/7", "profile": "/profile/7"}
"""No database; one SELECT by primary key."""
RATES: Mapping[str, int] = {"items": 400, "profile": 160}
"""Requests a second for the p99: what every mode can serve on one core."""


@dataclass(frozen=True)
class Mode:
    """One way. what: for the page. app: module and function of `apps`. environment: of `environments`.

    variables: beside those that all have. program: what starts Python, where something does.
    has_lines: whether each request makes a line on stdout. metrics: where they are read: "own" port, that
    of the "app", or nowhere. in_every_round: its figures are claims; the others are in every second one.
    """

    what: str
    app: tuple[str, str]
    environment: str = "peers"
    variables: Mapping[str, str] = field(default_factory=dict)
    program: Sequence[str] = ()
    has_lines: bool = False
    metrics: str = ""
    in_every_round: bool = False


def _ours(what: str, function: str = "everything", **variables: str) -> Mode:
    return Mode(
        what,
        ("firedrill", function),
        variables=variables,
        has_lines=variables.get("FIREDRILL_LOGS") != "off",
        metrics="own",
    )


MODES: Mapping[str, Mode] = {
    "bare": Mode("FastAPI as it comes", ("bare", "stock"), in_every_round=True),
    "bare_gate_off": Mode(
        "bare, FastAPI's own telemetry off", ("bare", "gate_off"), in_every_round=True
    ),
    "firedrill": Mode(
        "Firedrill's kit",
        ("firedrill", "everything"),
        has_lines=True,
        metrics="own",
        in_every_round=True,
    ),
    "firedrill_contrib": _ours(
        "Firedrill's kit on the official instrumentations",
        "contrib",
        TELEMETRY_INSTRUMENTATION="contrib",
    ),
    "firedrill_without_statements": _ours("the kit without the engine", "without_statements"),
    "firedrill_without_lines": _ours("the kit without log lines", FIREDRILL_LOGS="off"),
    "firedrill_without_export": _ours(
        "the kit, spans recorded and not sent", OTEL_EXPORTER_OTLP_ENDPOINT=""
    ),
    "typical": Mode(
        "contrib FastAPI, SQLAlchemy and asyncpg, prometheus-fastapi-instrumentator, structlog",
        ("open_telemetry", "typical"),
        has_lines=True,
        metrics="app",
        in_every_round=True,
    ),
    "fastapi_native": Mode(
        "FastAPI's own spans, SDK metrics, contrib SQLAlchemy, structlog",
        ("open_telemetry", "native"),
        has_lines=True,
        metrics="app",
    ),
    "opentelemetry_instrument": Mode(
        "`opentelemetry-instrument`, nothing changed in the application",
        ("bare", "stock"),
        program=("opentelemetry-instrument",),
        variables={"OTEL_METRICS_EXPORTER": "none", "OTEL_LOGS_EXPORTER": "none"},
    ),
    "lite_bootstrap": Mode(
        "lite-bootstrap, access line included",
        ("lite_bootstrap", "everything"),
        environment="lite_bootstrap",
        has_lines=True,
        metrics="app",
    ),
    "logfire": Mode("logfire", ("logfire", "everything"), environment="logfire"),
    "prometheus_fastapi_instrumentator": Mode(
        "metrics only", ("prometheus", "instrumentator"), metrics="app"
    ),
    "starlette_exporter": Mode(
        "metrics only", ("prometheus", "starlette_exporter"), metrics="app"
    ),
}
BARE, TYPICAL, OURS, BEFORE = "bare", "typical", "firedrill", "firedrill_before"
