"""The claims of an access token: two shapes, and the one rule that tells them apart.

A shape is exact: every value has one accepted type and form, and no claim stands in for another
that is missing. What fits neither shape names nobody. A newcomer would be tempted to be lenient
here; the service this one replaces was, and took an id for an e-mail.
"""

import enum
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeGuard

from service.accounts import MAX_ACCOUNT_ID

MAX_EMAIL_CHARACTERS = 254
"""RFC 5321 §4.5.3.1.3: the longest path is 256 octets, angle brackets included."""

# ASCII digits only: int() would also take full-width ones, " 42\n", "4_2", "+42" and "042".
_ACCOUNT_ID = re.compile(r"[1-9][0-9]{0,18}")


class TokenFormat(enum.StrEnum):
    """How a caller proves who they are; also the `token_format` of metrics and log lines."""

    ENHANCED = "enhanced"
    LEGACY = "legacy"
    SESSION = "session"


REQUIRED_CLAIMS = {
    TokenFormat.ENHANCED: ("sub", "email", "role", "iat", "exp"),
    TokenFormat.LEGACY: ("sub", "id", "role", "iat", "exp"),
}
"""Besides `iss` and `aud`, whose absence counts as a wrong issuer or audience."""


@dataclass(frozen=True, slots=True)
class Subject:
    """Whom a token names: both values were in its claims, and both must match the account."""

    token_format: TokenFormat
    account_id: int
    email: str = field(repr=False)


def subject_of(claims: Mapping[str, Any]) -> Subject | None:
    """Return whom the claims name, or None when they fit neither shape.

    enhanced: `sub` is the account id, `email` its address, `id` absent or the same as `sub`.
    legacy: `sub` is the address, `id` the account id, `email` absent or the same as `sub`.
    `sub` cannot be an id and an address at once, so at most one shape fits.
    """
    sub = claims.get("sub")
    account_id = _account_id(sub) if isinstance(sub, str) else None
    if account_id is not None:
        email = claims.get("email")
        if is_email(email) and ("id" not in claims or _account_id(claims["id"]) == account_id):
            return Subject(TokenFormat.ENHANCED, account_id, email)
        return None
    account_id = _account_id(claims.get("id"))
    if account_id is None or not is_email(sub):
        return None
    if "email" in claims and not (is_email(claims["email"]) and same_email(claims["email"], sub)):
        return None
    return Subject(TokenFormat.LEGACY, account_id, sub)


def _account_id(value: object) -> int | None:
    if isinstance(value, str) and _ACCOUNT_ID.fullmatch(value):
        value = int(value)
    # bool is an int to Python; a JSON `true` is no id.
    if type(value) is int and 1 <= value <= MAX_ACCOUNT_ID:
        return value
    return None


def is_email(value: object) -> TypeGuard[str]:
    """Tell whether it can be an address: one "@" with text around it, nothing that does not print.

    `str.isprintable` is False for control characters, NUL, lone surrogates and separators but the
    space.
    """
    if not isinstance(value, str) or len(value) > MAX_EMAIL_CHARACTERS:
        return False
    local, at, domain = value.partition("@")
    return (
        bool(local and at and domain)
        and "@" not in domain
        and " " not in value
        and value.isprintable()
    )


def same_email(one: str, other: str) -> bool:
    """Compare addresses without regard to case and to how accents are encoded."""
    return _folded(one) == _folded(other)


def _folded(email: str) -> str:
    # Case folding can decompose what was composed, hence the normal form on both sides of it.
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", email).casefold())
