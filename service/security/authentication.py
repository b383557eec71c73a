"""The middleware that finds out who calls, before the body is read and without the database.

FastAPI parses the body before it runs dependencies: an anonymous `{bad` would be answered 422, and
anybody could have a megabyte parsed. Whether account or session still exist is asked later, by
`callers`, together with the work.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from starlette.types import ASGIApp, Receive, Scope, Send

from firedrill_kit.telemetry import record
from firedrill_kit.telemetry.traces import span
from service.routes import RouteSpec
from service.security.claims import TokenFormat
from service.security.composition import Security
from service.security.csrf import Csrf, CsrfRejected
from service.security.rejections import credentials_missing, refuse_forgery, refuse_token
from service.security.sessions import cookie_values, secret_in, session_id
from service.security.tokens import TokenRejected

Headers = Iterable[tuple[bytes, bytes]]


@dataclass(frozen=True, slots=True)
class Identity:
    """Who the request says it is: proven for a token, of the right form only for a session.

    account_id, email, role: of a token. session_id: of a session, the key of its row.
    """

    kind: TokenFormat
    account_id: int | None = None
    email: str | None = field(default=None, repr=False)
    role: str | None = None
    session_id: bytes | None = field(default=None, repr=False)


class Authentication:
    """ASGI middleware: leaves an Identity in `scope["state"]["identity"]`, None on open routes.

    Expects `scope["firedrill.route"]`. Raises Failure: CREDENTIALS_MISSING, the TOKEN_ modes,
    CSRF_FAILED.
    """

    def __init__(self, app: ASGIApp, *, security: Security) -> None:
        self._app = app
        self._security = security

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            record.enter_stage("auth")
            scope.setdefault("state", {})["identity"] = self._identify(scope)
            record.enter_stage("admission")
        await self._app(scope, receive, send)

    def _identify(self, scope: Scope) -> Identity | None:
        route: RouteSpec = scope["firedrill.route"]
        policy = route.policy(scope["method"])
        if policy.auth == "none":
            return None
        headers: Headers = scope["headers"]
        # With both, the cookie counts: the stricter rules are the ones that apply.
        secret = secret_in(cookie_values(headers, self._security.cookies.session_name))
        if secret is None and policy.auth == "session":
            raise credentials_missing()
        if secret is None:
            return self._from_token(headers)
        identity = Identity(TokenFormat.SESSION, session_id=session_id(secret))
        if policy.csrf:
            self._check_csrf(headers, session_id(secret))
        return identity

    def _from_token(self, headers: Headers) -> Identity:
        tokens = _bearer_tokens(headers)
        if not tokens:
            raise credentials_missing()
        # Raised outside the span, which would become an error: 4xx are not ours.
        with span("auth.verify") as active:
            try:
                verified = self._security.verifier.verify(_only(tokens))
            except TokenRejected as rejected:
                active.set_attribute("firedrill.token_format", rejected.token_format or "unknown")
                active.set_attribute("firedrill.reason", rejected.reason)
                refusal = refuse_token(rejected)
            else:
                subject = verified.subject
                active.set_attribute("firedrill.token_format", subject.token_format)
                self._note(subject.token_format, str(subject.account_id))
                return Identity(
                    subject.token_format, subject.account_id, subject.email, verified.role
                )
        raise refusal

    def _check_csrf(self, headers: Headers, own_session_id: bytes) -> None:
        csrf = self._security.csrf
        cookies = cookie_values(headers, self._security.cookies.csrf_name)
        try:
            check_sender(csrf, headers, is_proof_needed=True)
            csrf.verify(
                own_session_id,
                header=_value(headers, b"x-csrf-token"),
                cookie=cookies[0] if cookies else None,
            )
        except CsrfRejected as rejected:
            raise refuse_forgery(rejected) from rejected
        # The signature proves that we made the session, not whose it is.
        self._note(TokenFormat.SESSION, own_session_id.hex())

    def _note(self, token_format: TokenFormat, name: str) -> None:
        running = record.current()
        if running is not None:
            running.token_format = token_format
            running.caller = self._security.caller_hash(name)


def check_sender(csrf: Csrf, headers: Headers, *, is_proof_needed: bool) -> None:
    """Apply `Csrf.check_sender` to ASGI headers. Raises CsrfRejected."""
    csrf.check_sender(
        fetch_site=_value(headers, b"sec-fetch-site"),
        fetch_mode=_value(headers, b"sec-fetch-mode"),
        origin=_value(headers, b"origin"),
        is_proof_needed=is_proof_needed,
    )


def _bearer_tokens(headers: Headers) -> list[bytes]:
    """Return the token of each `Authorization: Bearer` header; other schemes are not ours."""
    credentials = (value.partition(b" ") for name, value in headers if name == b"authorization")
    return [token.strip(b" ") for scheme, _, token in credentials if scheme.lower() == b"bearer"]


def _only(tokens: list[bytes]) -> bytes:
    if len(tokens) > 1:
        # Proxies and servers differ in which one counts.
        raise TokenRejected("malformed")
    return tokens[0]


def _value(headers: Headers, wanted: bytes) -> bytes | None:
    return next((value for name, value in headers if name == wanted), None)
