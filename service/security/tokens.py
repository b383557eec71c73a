"""Access tokens: JWTs signed with HS256, issued and verified without the database.

joserfc does the cryptography and the parsing; what stands here is our policy: size before parsing,
one algorithm, keys by id out of a dict, whole seconds only, a longest lifetime, exact claims.
Every refusal is a `TokenRejected` with a reason out of a closed set. Asking whether the account
exists is `callers`'.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Self

from joserfc import jws, jwt
from joserfc.errors import JoseError
from joserfc.jwk import OctKey
from joserfc.registry import HeaderParameter
from joserfc.util import urlsafe_b64decode
from pydantic import SecretStr

from service.config import MIN_KEY_BYTES, Config
from service.security.claims import REQUIRED_CLAIMS, Subject, TokenFormat, subject_of

ALGORITHM = "HS256"
MAX_TOKEN_BYTES = 4096
"""Larger ones are refused unparsed: 10 MB cost 0.65 s of CPU, measured. Ours have 300 bytes."""
MAX_LIFETIME_SECONDS = 24 * 3600
KEPT_TOKENS = 4096
"""About 3 MB. To accept a token takes 90 µs, to find it here 0.5 µs (measured)."""
LEEWAY_SECONDS = 30
"""Difference between issuer's and verifier's clock that is forgiven in `exp`, `nbf`, `iat`."""
_TIMES: tuple[str, ...] = ("iat", "exp", "nbf")
_MAX_NUMERIC_DATE = 2**40
"""Beyond any date; keeps the differences that are logged small."""

Clock = Callable[[], float]
"""Returns seconds since the epoch."""


class TokenRejected(Exception):
    """A credential is refused.

    reason: one of `metrics.TOKEN_REJECTIONS`.
    token_format: None when the token's key does not tell.
    claim: name of the offending claim, from our own list, never from the token.
    kid_known: whether a key has the token's key id, where that was looked at.
    skew_seconds: how far outside its time the token is, above 0.
    """

    def __init__(
        self,
        reason: str,
        token_format: TokenFormat | None = None,
        *,
        claim: str | None = None,
        kid_known: bool | None = None,
        skew_seconds: int | None = None,
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.token_format = token_format
        self.claim = claim
        self.kid_known = kid_known
        self.skew_seconds = skew_seconds


@dataclass(frozen=True, slots=True)
class VerifiedToken:
    """What a genuine token says. role: the issuer's opinion; the account's is what counts."""

    subject: Subject
    role: str


@dataclass(frozen=True, slots=True)
class _Genuine:
    """A token that was accepted once; whether its time has come and is not over is asked each time."""

    token: VerifiedToken
    times: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class _VerifyingKey:
    token_format: TokenFormat
    issuer: str
    key: OctKey


class _Registry(jws.JWSRegistry):
    # Nothing but what our issuers write: a key or an address inside a token (jwk, jku, x5u) is
    # refused.
    default_header_registry = {  # noqa: RUF012 - the library's own way to set it
        "alg": HeaderParameter("Algorithm", "str", required=True),
        "kid": HeaderParameter("Key ID", "str", required=True),
        "typ": HeaderParameter("Type", "str"),
    }
    max_payload_length = MAX_TOKEN_BYTES


_REGISTRY = _Registry(algorithms=[ALGORITHM])

_UNREADABLE = (JoseError, ValueError, TypeError, RecursionError)
"""What joserfc and the JSON decoder raise for bytes that are no token: TypeError for a header that
is a list, ValueError for text that is no UTF-8 or JSON, RecursionError for endless brackets."""


def _object(text: bytes) -> dict[str, Any]:
    value = json.loads(
        text.decode(), object_pairs_hook=_unique_members, parse_constant=_refuse_constant
    )
    if not isinstance(value, dict):
        raise TypeError("not an object")
    return value


def _unique_members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("duplicate member")
    return members


def _refuse_constant(_name: str) -> None:
    raise ValueError("NaN and Infinity are not JSON")


class TokenVerifier:
    """Verifies both formats; which one a token has to fit follows from the key that signed it."""

    def __init__(
        self,
        enhanced_keys: Mapping[str, SecretStr],
        legacy_keys: Mapping[str, SecretStr],
        *,
        issuer: str,
        legacy_issuer: str,
        audience: str,
        clock: Clock,
    ) -> None:
        """Take the keys by id; all verify, so a rotation overlaps while the old one is listed.

        Raises ValueError for a key that is too short and for an id that both formats use.
        """
        if shared := sorted(enhanced_keys.keys() & legacy_keys.keys()):
            raise ValueError(f"key ids of both token formats: {', '.join(shared)}; rename one")
        self._keys = {
            **_verifying_keys(enhanced_keys, TokenFormat.ENHANCED, issuer),
            **_verifying_keys(legacy_keys, TokenFormat.LEGACY, legacy_issuer),
        }
        self._audience = audience
        self._clock = clock
        # By all of its bytes, and for these keys: other keys are another verifier's. What raises is not
        # kept, so a refusal never is.
        self._accepted = lru_cache(KEPT_TOKENS)(self._accept)

    @classmethod
    def of(cls, config: Config, *, clock: Clock) -> Self:
        return cls(
            config.token_keys,
            config.legacy_token_keys,
            issuer=config.token_issuer,
            legacy_issuer=config.legacy_token_issuer,
            audience=config.token_audience,
            clock=clock,
        )

    def verify(self, token: bytes) -> VerifiedToken:
        """Return what the token says.

        Raises TokenRejected; the reason does not depend on the order of the claims.
        """
        if len(token) > MAX_TOKEN_BYTES:
            raise TokenRejected("too_large")
        genuine = self._accepted(token)
        self._check_times(genuine.times, genuine.token.subject.token_format)
        return genuine.token

    def _accept(self, token: bytes) -> _Genuine:
        try:
            signed = jws.extract_compact(token, registry=_REGISTRY)
            _REGISTRY.check_header(signed.headers())
            _object(urlsafe_b64decode(signed.segments["header"]))
        except _UNREADABLE as error:
            raise TokenRejected("malformed") from error
        verifying = self._keys.get(signed.headers()["kid"])
        if verifying is None:
            raise TokenRejected("signature", kid_known=False)
        token_format = verifying.token_format
        try:
            is_genuine = jws.validate_compact(signed, verifying.key, registry=_REGISTRY)
            claims = _object(signed.payload) if is_genuine else {}
        except _UNREADABLE as error:
            raise TokenRejected("malformed", token_format) from error
        if not is_genuine:
            raise TokenRejected("signature", token_format, kid_known=True)
        self._check(claims, verifying)
        subject = subject_of(claims)
        if subject is None or subject.token_format is not token_format:
            raise TokenRejected("conflict", token_format)
        times = {name: claims[name] for name in _TIMES if name in claims}
        return _Genuine(VerifiedToken(subject, claims["role"]), times)

    def _check(self, claims: Mapping[str, Any], verifying: _VerifyingKey) -> None:
        token_format = verifying.token_format
        # A list of audiences is refused: a token for several services can be replayed among them.
        for name, expected, reason in (
            ("iss", verifying.issuer, "issuer"),
            ("aud", self._audience, "audience"),
        ):
            if claims.get(name) != expected:
                raise TokenRejected(reason, token_format, claim=name)
        for name in REQUIRED_CLAIMS[token_format]:
            if claims.get(name) is None:
                raise TokenRejected("claims_missing", token_format, claim=name)
        mistyped = next(_mistyped(claims), None)
        if mistyped is not None:
            raise TokenRejected("malformed", token_format, claim=mistyped)
        self._check_times(claims, token_format)

    def _check_times(self, claims: Mapping[str, int], token_format: TokenFormat) -> None:
        issued_at, expires_at = claims["iat"], claims["exp"]
        if not 0 < expires_at - issued_at <= MAX_LIFETIME_SECONDS:
            raise TokenRejected("malformed", token_format, claim="exp")
        now = self._clock()
        if now >= expires_at + LEEWAY_SECONDS:
            skew_seconds = int(now - expires_at)
            raise TokenRejected("expired", token_format, claim="exp", skew_seconds=skew_seconds)
        for name in ("nbf", "iat"):
            if claims.get(name, 0) > now + LEEWAY_SECONDS:
                raise TokenRejected(
                    "not_yet_valid", token_format, claim=name, skew_seconds=int(claims[name] - now)
                )


def _mistyped(claims: Mapping[str, Any]) -> Iterator[str]:
    """Yield the names of the claims whose JSON type is not the one both formats share."""
    for name in _TIMES:
        value = claims.get(name, 0)
        # type, not isinstance: `true` is no date, and neither is 1e308 nor "1700000000".
        if type(value) is not int or not 0 <= value <= _MAX_NUMERIC_DATE:
            yield name
    for name in ("sub", "email", "role"):
        if name in claims and not isinstance(claims[name], str):
            yield name
    if "id" in claims and type(claims["id"]) not in (int, str):
        yield "id"


def _verifying_keys(
    keys: Mapping[str, SecretStr], token_format: TokenFormat, issuer: str
) -> dict[str, _VerifyingKey]:
    return {
        key_id: _VerifyingKey(token_format, issuer, _import_key(key_id, secret))
        for key_id, secret in keys.items()
    }


def _import_key(key_id: str, secret: SecretStr) -> OctKey:
    value = secret.get_secret_value().encode()
    # joserfc only warns about short keys.
    if len(value) < MIN_KEY_BYTES:
        raise ValueError(f"token key {key_id!r} is shorter than {MIN_KEY_BYTES} bytes")
    return OctKey.import_key(value)


class TokenIssuer:
    """Signs access tokens with the newest key of each format."""

    def __init__(self, config: Config, *, clock: Clock) -> None:
        self._config = config
        self._clock = clock
        self.lifetime_seconds = config.token_lifetime_seconds

    def enhanced(self, account_id: int, email: str, role: str) -> str:
        """Sign a token of today's format.

        Raises ValueError when no key is configured.
        """
        claims = {"sub": str(account_id), "email": email}
        return self._sign(
            claims, role, self._config.token_issuer, self._config.token_keys, "TOKEN_KEYS"
        )

    def legacy(self, account_id: int, email: str, role: str) -> str:
        """Sign a token as the service before this one did.

        Raises ValueError when no legacy key is configured.
        """
        claims = {"sub": email, "id": account_id}
        return self._sign(
            claims,
            role,
            self._config.legacy_token_issuer,
            self._config.legacy_token_keys,
            "LEGACY_TOKEN_KEYS",
        )

    def _sign(
        self,
        claims: dict[str, Any],
        role: str,
        issuer: str,
        keys: Mapping[str, SecretStr],
        setting: str,
    ) -> str:
        if not keys:
            raise ValueError(f"set {setting} to sign tokens of this format")
        key_id, secret = next(iter(keys.items()))
        now = int(self._clock())
        claims |= {
            "role": role,
            "iss": issuer,
            "aud": self._config.token_audience,
            "iat": now,
            "exp": now + self.lifetime_seconds,
        }
        header = {"alg": ALGORITHM, "kid": key_id}
        return jwt.encode(header, claims, _import_key(key_id, secret), algorithms=[ALGORITHM])
