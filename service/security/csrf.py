"""Proof that our own page sent a request which a cookie authenticates.

Two independent checks: what the browser says about the sender (`Sec-Fetch-Site`, else `Origin`), and a
signed double submit: a token in header and cookie, bound to the session by an HMAC. A neighbouring subdomain
that can set cookies defeats a plain double submit. Nothing here asks the database.
"""

import base64
import hashlib
import hmac
import secrets
from collections.abc import Callable
from typing import Self

from service.config import Config

_NONCE_BYTES = 16
MAX_TOKEN_CHARACTERS = 256
"""Ours have 143; a header may have 16 KiB."""


class CsrfRejected(Exception):
    """reason: one of the values of `csrf_rejected_total`."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Csrf:
    """Issues and verifies CSRF tokens of the form `expiry.nonce.session.mac`."""

    def __init__(
        self, key: bytes, *, origin: str, lifetime_seconds: int, clock: Callable[[], float]
    ) -> None:
        """origin: scheme, host and port that browsers see. clock: seconds since the epoch."""
        self._key = key
        self._origin = origin.rstrip("/").lower().encode()
        self._clock = clock
        self.lifetime_seconds = lifetime_seconds

    @classmethod
    def of(cls, config: Config, *, clock: Callable[[], float]) -> Self:
        return cls(
            config.session_key.get_secret_value().encode(),
            origin=config.public_origin,
            lifetime_seconds=config.session_lifetime_seconds,
            clock=clock,
        )

    def issue(self, session_id: bytes) -> str:
        expiry = str(int(self._clock()) + self.lifetime_seconds)
        nonce = secrets.token_urlsafe(_NONCE_BYTES)
        bound = f"{expiry}.{nonce}.{_fingerprint(session_id)}"
        return f"{bound}.{self._mac(bound)}"

    def verify(self, session_id: bytes, *, header: bytes | None, cookie: bytes | None) -> None:
        """Accept a token that this service issued to this session and both places agree on.

        Raises CsrfRejected: missing, malformed, signature, session, expired, cookie.
        """
        if not header or not cookie:
            raise CsrfRejected("missing")
        token = _text(header)
        bound, _, mac = token.rpartition(".")
        if bound.count(".") != 2:
            raise CsrfRejected("malformed")
        if not hmac.compare_digest(self._mac(bound), mac):
            raise CsrfRejected("signature")
        expiry, _, fingerprint = bound.split(".")
        if not hmac.compare_digest(_fingerprint(session_id), fingerprint):
            raise CsrfRejected("session")
        if not hmac.compare_digest(header, cookie):
            raise CsrfRejected("cookie")
        # Ours since the signature holds, so it is a number.
        if self._clock() >= int(expiry):
            raise CsrfRejected("expired")

    def check_sender(
        self,
        *,
        fetch_site: bytes | None,
        fetch_mode: bytes | None,
        origin: bytes | None,
        is_proof_needed: bool,
    ) -> None:
        """Refuse a request that another site made a browser send.

        is_proof_needed: also refuse when neither header is there, as from a client that is no
        browser.
        Raises CsrfRejected: fetch_site, origin.
        """
        if fetch_site is not None:
            # `none` is the user's own doing: the address bar, a bookmark.
            by_user = fetch_site == b"none" and fetch_mode == b"navigate"
            if fetch_site != b"same-origin" and not by_user:
                raise CsrfRejected("fetch_site")
        elif origin is not None:
            if origin.lower() != self._origin:
                raise CsrfRejected("origin")
        elif is_proof_needed:
            raise CsrfRejected("origin")

    def _mac(self, bound: str) -> str:
        # The prefix keeps these MACs apart from everything else the key is used for.
        return _base64(hmac.digest(self._key, f"csrf.{bound}".encode(), "sha256"))


def _fingerprint(session_id: bytes) -> str:
    """Return what stands for the session in a token: pages can read it, so not its row's key."""
    return _base64(hashlib.sha256(b"csrf." + session_id).digest())


def _text(header: bytes) -> str:
    if len(header) > MAX_TOKEN_CHARACTERS or not header.isascii():
        raise CsrfRejected("malformed")
    return header.decode("ascii")


def _base64(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode("ascii")
