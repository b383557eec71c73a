"""From a refused credential to what operators and callers see of it.

Callers get a coarse code, operators the fine reason in metric, log and span; neither gets the
credential.
"""

from collections.abc import Mapping

import structlog

from firedrill_kit.telemetry import record
from firedrill_kit.telemetry.traces import past_span
from service import failures, metrics
from service.failures import Failure, Mode
from service.security.claims import TokenFormat
from service.security.csrf import CsrfRejected
from service.security.tokens import TokenRejected

MODES: Mapping[str, Mode] = {
    "malformed": failures.TOKEN_MALFORMED,
    "too_large": failures.TOKEN_MALFORMED,
    "claims_missing": failures.TOKEN_CLAIMS_MISSING,
    "signature": failures.TOKEN_INVALID,
    "audience": failures.TOKEN_INVALID,
    "issuer": failures.TOKEN_INVALID,
    "expired": failures.TOKEN_EXPIRED,
    "not_yet_valid": failures.TOKEN_EXPIRED,
    "conflict": failures.TOKEN_CLAIMS_CONFLICT,
    "mismatch": failures.TOKEN_CLAIMS_CONFLICT,
    "unknown_subject": failures.TOKEN_SUBJECT_UNKNOWN,
}
_EVENTS = {
    "conflict": "auth_conflict",
    "mismatch": "auth_conflict",
    "unknown_subject": "auth_subject_unknown",
}
ASK_FOR_TOKEN = {"WWW-Authenticate": "Bearer"}
"""RFC 6750 §3.1: no error code where no token was sent."""
_INVALID_TOKEN = {"WWW-Authenticate": 'Bearer error="invalid_token"'}

_log = structlog.get_logger()


def credentials_missing() -> Failure:
    return Failure(failures.CREDENTIALS_MISSING, headers=ASK_FOR_TOKEN)


def refuse_token(rejected: TokenRejected) -> Failure:
    """Count and log the refusal, and return the answer."""
    token_format = rejected.token_format or "unknown"
    metrics.TOKENS_REJECTED.labels(token_format, rejected.reason).inc()
    running = record.current()
    if running is not None:
        running.token_format = token_format
    details = {
        "claim": rejected.claim,
        "kid_known": rejected.kid_known,
        "skew_s": rejected.skew_seconds,
    }
    _log.info(
        _EVENTS.get(rejected.reason, "token_rejected"),
        reason=rejected.reason,
        token_format=token_format,
        **{name: value for name, value in details.items() if value is not None},
    )
    if rejected.token_format is TokenFormat.SESSION:
        # A session that is over is like none: the caller has no token to mend.
        return Failure(failures.CREDENTIALS_MISSING, cause=rejected.reason, headers=ASK_FOR_TOKEN)
    return Failure(MODES[rejected.reason], cause=rejected.reason, headers=_INVALID_TOKEN)


def refuse_forgery(rejected: CsrfRejected) -> Failure:
    """Count, log and trace the refusal, and return the answer."""
    metrics.CSRF_REJECTED.labels(rejected.reason).inc()
    past_span("csrf.verify", {"firedrill.reason": rejected.reason}, seconds=0)
    _log.info("csrf_rejected", reason=rejected.reason)
    return Failure(failures.CSRF_FAILED, cause=rejected.reason)
