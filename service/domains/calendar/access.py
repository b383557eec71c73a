"""An access token, or the reason why there is none, as it is answered and as it is counted."""

from dataclasses import dataclass, field

import structlog

from service import failures, metrics
from service.domains.calendar.lease import StoredGrant
from service.domains.calendar.models import GrantStatus
from service.domains.calendar.vault import SealedTokenUnreadableError, Vault
from service.failures import Failure, Mode
from service.metrics import PROVIDER
from service.upstream.client import CALENDAR_SCOPES

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class AccessToken:
    value: str = field(repr=False)
    version: int
    """Counts the refreshes of the grant: says which token it was that the provider refused."""


class Access:
    """Reads tokens out of stored grants. consent_url: where the owner can mend what is wrong."""

    def __init__(self, vault: Vault, *, consent_url: str) -> None:
        self.vault = vault
        self._consent_url = consent_url

    def opened(self, grant: StoredGrant, account_id: int) -> AccessToken:
        """Return the stored token. Raises CALENDAR_SCOPE_MISSING, PROVIDER_MISCONFIGURED."""
        self.check_scope(grant.scope)
        try:
            value = self.vault.open(grant.access_token_enc, account_id=account_id)
        except SealedTokenUnreadableError as error:
            metrics.OAUTH_REFRESH.labels(PROVIDER, "decrypt_failed").inc()
            raise decrypt_failed(error) from error
        return AccessToken(value, grant.token_version)

    def check_alive(self, grant: StoredGrant) -> None:
        """Raise what a waiter can know already: no call is made for a dead grant."""
        if grant.status is GrantStatus.REAUTH_REQUIRED:
            raise self.reauth_required(grant.last_error)
        if grant.status is GrantStatus.MISCONFIGURED:
            raise Failure(failures.PROVIDER_MISCONFIGURED, cause=grant.last_error)

    def check_scope(self, scope: str) -> None:
        if CALENDAR_SCOPES.isdisjoint(scope.split()):
            raise Failure(
                failures.CALENDAR_SCOPE_MISSING,
                cause="scope",
                extensions={"reauth_url": self._consent_url},
            )

    def reauth_required(self, reason: str | None) -> Failure:
        known = reason if reason in {"revoked", "lost_rotation"} else "revoked"
        return Failure(
            failures.CALENDAR_REAUTH_REQUIRED,
            cause=known,
            extensions={"reauth_url": self._consent_url, "reason": known},
        )


def decrypt_failed(error: SealedTokenUnreadableError) -> Failure:
    _log.error("oauth_misconfigured", cause="decrypt_failed", reason=error.reason)
    return Failure(failures.PROVIDER_MISCONFIGURED, cause="decrypt_failed")


_OUTCOMES: dict[tuple[Mode, str | None], str] = {
    (failures.PROVIDER_UNAVAILABLE, "connect"): "network",
    (failures.PROVIDER_UNAVAILABLE, "disconnect"): "network",
    (failures.PROVIDER_UNAVAILABLE, "status"): "provider_error",
    (failures.PROVIDER_MISCONFIGURED, "decrypt_failed"): "decrypt_failed",
    (failures.CALENDAR_REAUTH_REQUIRED, "lost_rotation"): "lost_rotation",
}
_OUTCOMES_BY_MODE: dict[Mode, str] = {
    failures.CALENDAR_REAUTH_REQUIRED: "invalid_grant",
    failures.PROVIDER_MISCONFIGURED: "invalid_client",
    failures.PROVIDER_TIMEOUT: "timeout",
    failures.PROVIDER_RATE_LIMITED: "rate_limited",
    failures.PROVIDER_BAD_RESPONSE: "provider_error",
    # New tokens came and were stored; that they open the wrong door is the caller's to mend.
    failures.CALENDAR_SCOPE_MISSING: "success",
}


def outcome_of(failure: Failure) -> str | None:
    """Return the outcome of the refresh that ended so; None when the provider was not asked at all.

    A refresh refused by our own breaker is not one more failure of the provider, and a database that
    does not take the tokens is counted as what it is.
    """
    exact = _OUTCOMES.get((failure.mode, failure.cause))
    return exact or _OUTCOMES_BY_MODE.get(failure.mode)
