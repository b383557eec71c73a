"""The session cookie: a random secret that only the browser keeps; the database has its hash."""

import hashlib
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Self

from service.config import Config

_SECRET_BYTES = 32
_SECRET = re.compile(rb"[A-Za-z0-9_-]{43}")


@dataclass(frozen=True, slots=True)
class Cookies:
    """Names and attributes of the two cookies.

    `__Host-` binds a cookie to this host over TLS; clients never send such a cookie back over
    plain http, so on loopback the names are bare.
    """

    is_secure: bool
    lifetime_seconds: int
    session_name: str = field(init=False)
    csrf_name: str = field(init=False)

    def __post_init__(self) -> None:
        prefix = "__Host-" if self.is_secure else ""
        object.__setattr__(self, "session_name", f"{prefix}session")
        object.__setattr__(self, "csrf_name", f"{prefix}csrf")

    @classmethod
    def of(cls, config: Config) -> Self:
        return cls(config.secure_cookies, config.session_lifetime_seconds)

    def session(self, secret: str) -> str:
        """Return the `Set-Cookie` that signs a browser in."""
        return self._line(self.session_name, secret, self.lifetime_seconds, "; HttpOnly")

    def csrf(self, token: str) -> str:
        """Return the `Set-Cookie` of the CSRF token, which the page has to read."""
        return self._line(self.csrf_name, token, self.lifetime_seconds)

    def cleared(self) -> list[str]:
        """Return the `Set-Cookie` lines that sign a browser out."""
        return [self._line(name, "", 0) for name in (self.session_name, self.csrf_name)]

    def _line(self, name: str, value: str, max_age_seconds: int, more: str = "") -> str:
        secure = "; Secure" if self.is_secure else ""
        return f"{name}={value}; Max-Age={max_age_seconds}; Path=/; SameSite=Lax{more}{secure}"


def new_secret() -> str:
    return secrets.token_urlsafe(_SECRET_BYTES)


def session_id(secret: str) -> bytes:
    """Return the key of the session's row; a plain hash will do for 256 random bits."""
    return hashlib.sha256(secret.encode("ascii")).digest()


def secret_in(cookies: Iterable[bytes]) -> str | None:
    """Return the session secret among the values of the session cookie.

    A value of another form is another program's cookie on this host. Of two different secrets none is
    taken: a neighbouring subdomain can add a cookie, and the victim would act in its session.
    """
    found = {value for value in cookies if _SECRET.fullmatch(value)}
    return found.pop().decode("ascii") if len(found) == 1 else None


def cookie_values(headers: Iterable[tuple[bytes, bytes]], name: str) -> list[bytes]:
    """Return every value of the cookie in ASGI headers, in order."""
    wanted = name.encode("ascii")
    return [
        value.strip()
        for header, line in headers
        if header == b"cookie"
        for key, _, value in (pair.partition(b"=") for pair in line.split(b";"))
        if key.strip() == wanted
    ]
