"""Tokens made by hand: signed properly around whatever claims and header a test wants."""

import base64
import hmac
import json
from typing import Any

from pydantic import SecretStr

from service.security.tokens import TokenVerifier

NOW = 1_800_000_000
KEY = "enhanced-key-of-at-least-32-bytes-00"
LEGACY_KEY = "legacy-key-of-at-least-32-bytes-0000"
OTHER_KEY = "nobody-listed-this-key-of-32-bytes-00"
ISSUER, LEGACY_ISSUER, AUDIENCE = "firedrill", "firedrill-legacy", "firedrill-api"

ENHANCED: dict[str, Any] = {
    "sub": "42",
    "email": "ada@example.com",
    "role": "user",
    "iss": ISSUER,
    "aud": AUDIENCE,
    "iat": NOW - 60,
    "exp": NOW + 3540,
}
LEGACY: dict[str, Any] = {
    "sub": "ada@example.com",
    "id": 42,
    "role": "user",
    "iss": LEGACY_ISSUER,
    "aud": AUDIENCE,
    "iat": NOW - 60,
    "exp": NOW + 3540,
}


def verifier(
    keys: dict[str, str] | None = None,
    legacy_keys: dict[str, str] | None = None,
    *,
    now: float = NOW,
) -> TokenVerifier:
    return TokenVerifier(
        _secret(keys if keys is not None else {"e1": KEY}),
        _secret(legacy_keys if legacy_keys is not None else {"l1": LEGACY_KEY}),
        issuer=ISSUER,
        legacy_issuer=LEGACY_ISSUER,
        audience=AUDIENCE,
        clock=lambda: now,
    )


def enhanced(key: str = KEY, header: Any = None, **changes: Any) -> bytes:
    """Sign the enhanced claims with the changes; a change to `...` drops the claim."""
    return sign(changed(ENHANCED, changes), key, header or {"alg": "HS256", "kid": "e1"})


def legacy(key: str = LEGACY_KEY, header: Any = None, **changes: Any) -> bytes:
    return sign(changed(LEGACY, changes), key, header or {"alg": "HS256", "kid": "l1"})


def changed(claims: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in {**claims, **changes}.items() if value is not ...}


def sign(payload: Any, key: str = KEY, header: Any = None, *, digest: str = "sha256") -> bytes:
    """Sign anything: bytes go in as they are, the rest as JSON."""
    head = {"alg": "HS256", "kid": "e1"} if header is None else header
    signed = encode(head) + b"." + encode(payload)
    return signed + b"." + base64url(hmac.digest(key.encode(), signed, digest))


def encode(value: Any) -> bytes:
    return base64url(value if isinstance(value, bytes) else json.dumps(value).encode())


def base64url(value: bytes) -> bytes:
    return base64.urlsafe_b64encode(value).rstrip(b"=")


def _secret(keys: dict[str, str]) -> dict[str, SecretStr]:
    return {key_id: SecretStr(key) for key_id, key in keys.items()}
