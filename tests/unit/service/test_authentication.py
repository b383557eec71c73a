"""The middleware as ASGI sees it: what it lets through, what it refuses, and what that leaves behind."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode
from pydantic import SecretStr
from starlette.types import Message, Receive, Scope, Send
from structlog.testing import capture_logs

from firedrill_kit import metrics as core_metrics
from firedrill_kit.telemetry import record, traces
from firedrill_kit.telemetry.record import RequestRecord
from service import failures
from service.config import Config
from service.failures import Failure
from service.routes import RouteTable
from service.security import Authentication, Identity, Security
from service.security.claims import TokenFormat
from service.security.sessions import new_secret, session_id
from tests.unit.service import minting
from tests.unit.service.minting import KEY, LEGACY_KEY, NOW, OTHER_KEY, enhanced, legacy

ORIGIN = "http://127.0.0.1:8000"
TOKEN_ROUTE, PROFILE = "/api/v1/auth/token", "/api/v1/profile"
ROUTES = RouteTable(
    [("POST", TOKEN_ROUTE), ("GET", PROFILE), ("PUT", PROFILE), ("GET", "/problems/{code}")]
)
SECURITY = Security.of(
    Config(
        token_keys={"e1": SecretStr(KEY)},
        legacy_token_keys={"l1": SecretStr(LEGACY_KEY)},
        session_key=SecretStr("session-key-of-at-least-32-bytes-000"),
        public_origin=ORIGIN,
    ),
    clock=lambda: NOW,
)
SECRET = new_secret()
CSRF_TOKEN = SECURITY.csrf.issue(session_id(SECRET))


@dataclass
class Outcome:
    """What one request left behind."""

    identity: Identity | None = None
    failure: Failure | None = None
    reached_app: bool = False
    record: RequestRecord = field(default_factory=lambda: RequestRecord("GET", PROFILE))
    logs: list[Any] = field(default_factory=list)


def request(method: str, path: str, **headers: str | bytes) -> Outcome:
    outcome = Outcome()
    raw = [
        (
            name.lower().replace("_", "-").encode(),
            value.encode() if isinstance(value, str) else value,
        )
        for name, value in headers.items()
    ]
    return send(method, path, raw, outcome)


def send(method: str, path: str, headers: list[tuple[bytes, bytes]], outcome: Outcome) -> Outcome:
    scope: Scope = {
        "type": "http",
        "method": method,
        "path": path,
        "headers": headers,
        "firedrill.route": ROUTES.resolve(path),
        "firedrill.record": outcome.record,
    }

    async def app(scope: Scope, _receive: Receive, _send: Send) -> None:
        outcome.reached_app = True
        outcome.identity = scope["state"]["identity"]

    async def receive() -> Message:
        pytest.fail("the body was read")

    async def run() -> None:
        record.begin(outcome.record)
        await Authentication(app, security=SECURITY)(scope, receive, no_send)

    with capture_logs() as outcome.logs:
        try:
            asyncio.run(run())
        except Failure as failure:
            outcome.failure = failure
    return outcome


async def no_send(_message: Message) -> None:
    pytest.fail("the middleware answered by itself")


def bearer(token: bytes) -> bytes:
    return b"Bearer " + token


def cookie(**values: str) -> str:
    return "; ".join(f"{name}={value}" for name, value in values.items())


def rejected_total(token_format: str, reason: str) -> float:
    labels = {"token_format": token_format, "reason": reason}
    return core_metrics.REGISTRY.get_sample_value("auth_tokens_rejected_total", labels) or 0.0


def csrf_rejected_total(reason: str) -> float:
    return core_metrics.REGISTRY.get_sample_value("csrf_rejected_total", {"reason": reason}) or 0.0


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    current = SimpleNamespace(tracer=provider.get_tracer("test"), error_type=traces.type_name)
    monkeypatch.setattr(traces, "_current", current)
    yield exporter
    provider.shutdown()


def test_a_token_makes_an_identity_with_id_and_address() -> None:
    outcome = request("GET", PROFILE, authorization=bearer(enhanced()))

    assert outcome.identity == Identity(TokenFormat.ENHANCED, 42, "ada@example.com", "user")
    assert outcome.record.token_format == "enhanced"
    assert len(outcome.record.caller) == 16
    assert outcome.record.stage == "admission", "who is asking is known"


def test_the_same_account_has_the_same_hash_in_both_formats() -> None:
    one = request("GET", PROFILE, authorization=bearer(enhanced()))
    other = request("GET", PROFILE, authorization=bearer(legacy()))

    assert one.record.caller == other.record.caller


def test_a_token_needs_no_csrf_proof() -> None:
    outcome = request(
        "PUT", PROFILE, authorization=bearer(enhanced()), sec_fetch_site="cross-site"
    )

    assert outcome.identity is not None


def test_the_scheme_is_read_without_regard_to_case() -> None:
    assert request("GET", PROFILE, authorization=b"bEARER  " + enhanced()).identity is not None


@pytest.mark.parametrize("headers", [{}, {"authorization": "Basic YTpi"}, {"cookie": "a=b"}])
def test_no_credentials_ask_for_a_token_without_an_error(headers: dict[str, Any]) -> None:
    failure = request("GET", PROFILE, **headers).failure

    assert failure is not None
    assert failure.mode is failures.CREDENTIALS_MISSING
    assert failure.headers == {"WWW-Authenticate": "Bearer"}


REJECTED = {
    "malformed": (b"x.y.z", "unknown", "malformed", failures.TOKEN_MALFORMED, {}),
    "empty": (b"", "unknown", "malformed", failures.TOKEN_MALFORMED, {}),
    "too large": (b"x" * 4097, "unknown", "too_large", failures.TOKEN_MALFORMED, {}),
    "claims missing": (
        enhanced(role=...),
        "enhanced",
        "claims_missing",
        failures.TOKEN_CLAIMS_MISSING,
        {"claim": "role"},
    ),
    "signature": (
        enhanced(key=OTHER_KEY),
        "enhanced",
        "signature",
        failures.TOKEN_INVALID,
        {"kid_known": True},
    ),
    "unknown key": (
        enhanced(header={"alg": "HS256", "kid": "gone"}),
        "unknown",
        "signature",
        failures.TOKEN_INVALID,
        {"kid_known": False},
    ),
    "expired": (
        enhanced(iat=NOW - 100, exp=NOW - 31),
        "enhanced",
        "expired",
        failures.TOKEN_EXPIRED,
        {"claim": "exp", "skew_s": 31},
    ),
    "not yet valid": (
        legacy(nbf=NOW + 600),
        "legacy",
        "not_yet_valid",
        failures.TOKEN_EXPIRED,
        {"claim": "nbf", "skew_s": 600},
    ),
    "audience": (
        legacy(aud="x"),
        "legacy",
        "audience",
        failures.TOKEN_INVALID,
        {"claim": "aud"},
    ),
    "issuer": (
        enhanced(iss="x"),
        "enhanced",
        "issuer",
        failures.TOKEN_INVALID,
        {"claim": "iss"},
    ),
    "conflict": (
        enhanced(sub="\uff14\uff12"),
        "enhanced",
        "conflict",
        failures.TOKEN_CLAIMS_CONFLICT,
        {},
    ),
}


@pytest.mark.parametrize(
    ("token", "token_format", "reason", "mode", "details"), REJECTED.values(), ids=REJECTED
)
def test_a_refused_token_is_counted_logged_and_traced_by_its_reason(
    token: bytes,
    token_format: str,
    reason: str,
    mode: failures.Mode,
    *,
    details: dict[str, Any],
    spans: InMemorySpanExporter,
) -> None:
    before = rejected_total(token_format, reason)

    outcome = request("GET", PROFILE, authorization=bearer(token))

    assert not outcome.reached_app
    assert outcome.failure is not None
    assert (outcome.failure.mode, outcome.failure.cause) == (mode, reason)
    assert outcome.failure.headers == {"WWW-Authenticate": 'Bearer error="invalid_token"'}
    assert rejected_total(token_format, reason) == before + 1
    event = "auth_conflict" if reason == "conflict" else "token_rejected"
    assert outcome.logs == [
        {
            "event": event,
            "log_level": "info",
            "reason": reason,
            "token_format": token_format,
            **details,
        }
    ]
    (span,) = spans.get_finished_spans()
    assert span.name == "auth.verify"
    assert dict(span.attributes or {}) == {
        "firedrill.token_format": token_format,
        "firedrill.reason": reason,
    }
    assert span.status.status_code is StatusCode.UNSET
    assert outcome.record.caller == ""


def test_an_accepted_token_leaves_a_span_with_its_format(spans: InMemorySpanExporter) -> None:
    request("GET", PROFILE, authorization=bearer(legacy()))

    (span,) = spans.get_finished_spans()
    expected = {"firedrill.token_format": "legacy"}
    assert (span.name, dict(span.attributes or {})) == ("auth.verify", expected)


def test_two_authorization_headers_are_refused() -> None:
    headers = [(b"authorization", bearer(enhanced()))] * 2

    outcome = send("GET", PROFILE, headers, Outcome())

    assert outcome.failure is not None
    assert outcome.failure.mode is failures.TOKEN_MALFORMED


@pytest.mark.parametrize(
    ("method", "path"), [("POST", TOKEN_ROUTE), ("GET", "/problems/x"), ("GET", "/nowhere")]
)
def test_an_open_route_does_not_look_at_credentials(method: str, path: str) -> None:
    outcome = request(
        method, path, authorization=bearer(b"bad"), cookie=cookie(session=SECRET), origin="null"
    )

    assert outcome.reached_app
    assert outcome.identity is None


def test_a_session_cookie_reads_without_a_csrf_token() -> None:
    outcome = request("GET", PROFILE, cookie=cookie(session=SECRET), sec_fetch_site="cross-site")

    assert outcome.identity == Identity(TokenFormat.SESSION, session_id=session_id(SECRET))
    assert outcome.record.caller == ""


def test_a_session_cookie_writes_with_a_csrf_token() -> None:
    outcome = request(
        "PUT",
        PROFILE,
        cookie=cookie(session=SECRET, csrf=CSRF_TOKEN),
        x_csrf_token=CSRF_TOKEN,
        origin=ORIGIN,
    )

    assert outcome.identity == Identity(TokenFormat.SESSION, session_id=session_id(SECRET))
    assert outcome.record.token_format == "session"
    assert len(outcome.record.caller) == 16


OTHERS_TOKEN = SECURITY.csrf.issue(session_id(new_secret()))
GOOD = {"cookie": cookie(session=SECRET, csrf=CSRF_TOKEN), "x_csrf_token": CSRF_TOKEN}
FORGED = {
    "no token": ({"cookie": cookie(session=SECRET), "origin": ORIGIN}, "missing"),
    "no header": ({"cookie": GOOD["cookie"], "origin": ORIGIN}, "missing"),
    "no cookie": (
        {"cookie": cookie(session=SECRET), "x_csrf_token": CSRF_TOKEN, "origin": ORIGIN},
        "missing",
    ),
    "wrong token": (
        {"cookie": cookie(session=SECRET, csrf="a"), "x_csrf_token": "a", "origin": ORIGIN},
        "malformed",
    ),
    "another session's token": (
        {
            "cookie": cookie(session=SECRET, csrf=OTHERS_TOKEN),
            "x_csrf_token": OTHERS_TOKEN,
            "origin": ORIGIN,
        },
        "session",
    ),
    "another site": ({**GOOD, "sec_fetch_site": "cross-site", "origin": ORIGIN}, "fetch_site"),
    "another origin": ({**GOOD, "origin": "http://evil.example"}, "origin"),
    "origin null": ({**GOOD, "origin": "null"}, "origin"),
    "neither header": (GOOD, "origin"),
}


@pytest.mark.parametrize(("headers", "reason"), FORGED.values(), ids=FORGED)
@pytest.mark.parametrize("with_token", [False, True], ids=["cookie", "cookie and token"])
def test_a_forged_request_is_refused_also_with_a_token_beside_the_cookie(
    headers: dict[str, str], reason: str, *, with_token: bool, spans: InMemorySpanExporter
) -> None:
    before = csrf_rejected_total(reason)
    credentials = {"authorization": bearer(enhanced())} if with_token else {}

    outcome = request("PUT", PROFILE, **headers, **credentials)

    assert not outcome.reached_app
    assert outcome.failure is not None
    assert (outcome.failure.mode, outcome.failure.cause) == (failures.CSRF_FAILED, reason)
    assert csrf_rejected_total(reason) == before + 1
    assert outcome.logs == [{"event": "csrf_rejected", "log_level": "info", "reason": reason}]
    (span,) = spans.get_finished_spans()
    assert (span.name, dict(span.attributes or {})) == (
        "csrf.verify",
        {"firedrill.reason": reason},
    )
    assert span.status.status_code is StatusCode.UNSET


def test_a_cookie_of_another_form_does_not_hide_the_token() -> None:
    outcome = request(
        "PUT", PROFILE, cookie=cookie(session="somebody-elses"), authorization=bearer(enhanced())
    )

    assert outcome.identity is not None
    assert outcome.identity.kind is TokenFormat.ENHANCED


def test_nothing_of_a_refused_token_is_logged() -> None:
    token = minting.enhanced(sub="canary@example.com", email="canary@example.com")

    outcome = request("GET", PROFILE, authorization=bearer(token))

    assert "canary" not in repr(outcome.logs)
    assert token.decode()[:20] not in repr(outcome.logs)
    assert outcome.failure is not None
    assert "canary" not in repr(vars(outcome.failure))
