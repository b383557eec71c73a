"""What security needs at run time, made once from the configuration."""

import hmac
import time
from dataclasses import dataclass, field
from typing import Self

from service.config import Config
from service.security.csrf import Csrf
from service.security.sessions import Cookies
from service.security.tokens import Clock, TokenIssuer, TokenVerifier


@dataclass(frozen=True, slots=True)
class Security:
    """One for a process; nothing in it changes."""

    verifier: TokenVerifier
    issuer: TokenIssuer
    csrf: Csrf
    cookies: Cookies
    _key: bytes = field(repr=False)

    @classmethod
    def of(cls, config: Config, *, clock: Clock = time.time) -> Self:
        """Raises ValueError when the token keys cannot be used together."""
        return cls(
            verifier=TokenVerifier.of(config, clock=clock),
            issuer=TokenIssuer(config, clock=clock),
            csrf=Csrf.of(config, clock=clock),
            cookies=Cookies.of(config),
            _key=config.session_key.get_secret_value().encode(),
        )

    def caller_hash(self, name: str) -> str:
        """Return what stands for a caller in logs: the same for the same name, and no way back."""
        return hmac.digest(self._key, f"caller.{name}".encode(), "sha256").hex()[:16]
