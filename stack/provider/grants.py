"""Grants and their tokens: issue, rotate, expire, revoke. Pure: the clock and the saving come in.

A grant is one consent of one user and the family of refresh tokens that descends from it. Tokens
are not stored: each carries its grant, its number and an HMAC of both under the seed, so the same
seed mints the same tokens, and one small record per grant (`Grant`) is the whole state. What a
newcomer would get wrong: a superseded refresh token is not unknown, it is *reuse*, and under
strict rotation it revokes the family, the newest token included.
"""

import hashlib
import hmac
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Literal

from stack.provider import wire

Rotation = Literal["none", "strict", "grace"]
TokenKind = Literal["ac", "rt", "at"]

CODE_LIFETIME_SECONDS = 600
"""RFC 6749 §4.1.2 recommends at most ten minutes; Google's codes live about as long."""

LIVE_ACCESS_TOKENS = 64
"""Access tokens a grant remembers; older ones stop working. Bounds the record of a grant in a soak
test.
"""

_TOKEN = re.compile(r"(ac|rt|at)-(g[1-9][0-9]{0,8})-([1-9][0-9]{0,8})-([0-9a-f]{32})")


class TokenRefused(Exception):
    """The token endpoint says no.

    outcome: the RFC 6749 error code, or `reuse` for a superseded refresh token.
    """

    def __init__(self, outcome: str, answer: wire.Answer) -> None:
        super().__init__(outcome)
        self.outcome = outcome
        self.answer = answer


@dataclass
class Grant:
    """What is known of one grant; times are seconds since 1970."""

    grant_id: str
    user: str
    scopes: list[str]
    redirect_uri: str | None = None
    code_expires_at: float = 0.0
    generation: int = 0
    """Number of the current refresh token; 0 while the authorization code waits for its exchange.
    """
    rotated_at: float = 0.0
    refresh_expires_at: float | None = None
    access_serial: int = 0
    access_expires_at: dict[str, float] = field(default_factory=dict)
    """Live access tokens, by serial number (text, because the record is kept as JSON)."""
    revoked: bool = False
    expires_in: int | None = None
    """Life of its access tokens in seconds, in place of everybody's."""


@dataclass(frozen=True)
class Terms:
    """The rules in force for one call; all in seconds.

    grace_seconds: counted from a rotation; within it the previous refresh token, and no older one,
    gets the current one once more, so a client whose answer was lost can ask again (FAPI 2.0).
    refresh_token_expires_in: None for a refresh token without end, as Google's of a published app;
    604800 is what its consent screen "in testing" gives. Holds for tokens issued from now on.
    """

    rotation: Rotation = "none"
    grace_seconds: float = 30.0
    expires_in: int = 3600
    refresh_token_expires_in: int | None = None


@dataclass(frozen=True)
class Tokens:
    """One successful answer of the token endpoint. refresh_token: only when it is new to the
    client.
    """

    grant: Grant
    access_token: str
    expires_in: int
    refresh_token: str | None = None
    refresh_token_expires_in: int | None = None
    superseded: bool = False
    """True when a previous token was accepted because its grace had not run out."""


class Grants:
    """All grants. Single-threaded: every method runs to its end on the event loop."""

    def __init__(
        self, *, seed: str, now: Callable[[], float], save: Callable[[Grant], None] | None = None
    ) -> None:
        """seed: decides every token. now: seconds since 1970. save: called after each change."""
        self._key = hashlib.sha256(f"provider tokens {seed}".encode()).digest()
        self._now = now
        self._save = save or (lambda _grant: None)
        self._grants: dict[str, Grant] = {}

    def load(self, grants: Iterable[Grant]) -> None:
        self._grants.update((grant.grant_id, grant) for grant in grants)

    def all(self) -> list[Grant]:
        return list(self._grants.values())

    def get(self, grant_id: str) -> Grant | None:
        return self._grants.get(grant_id)

    def owner(self, token: str | None) -> Grant | None:
        """The grant that a token of any kind and age belongs to; None for anything not minted
        here.
        """
        parsed = self._parse(token or "")
        return self._grants.get(parsed[1]) if parsed else None

    def consent(
        self,
        *,
        user: str | None,
        scopes: list[str],
        redirect_uri: str | None = None,
        expires_in: int | None = None,
    ) -> tuple[Grant, str]:
        """The user says yes: a new grant and its authorization code, good for ten minutes and
        once.

        user: whose calendar it opens; None names a new user after the grant.
        expires_in: of its access tokens, for as long as the grant lives; None: as the terms say.
        """
        grant_id = f"g{len(self._grants) + 1}"
        grant = Grant(
            grant_id=grant_id,
            user=user or f"user-{grant_id}",
            scopes=scopes,
            redirect_uri=redirect_uri,
            code_expires_at=self._now() + CODE_LIFETIME_SECONDS,
            expires_in=expires_in,
        )
        self._grants[grant_id] = grant
        self._save(grant)
        return grant, self._mint("ac", grant, 1)

    def exchange(self, code: str, *, redirect_uri: str, terms: Terms) -> Tokens:
        """First tokens for an authorization code. Raises TokenRefused."""
        parsed = self._parse(code)
        if parsed is None or parsed[0] != "ac":
            raise refused(400, "invalid_grant", "Malformed auth code.")
        grant = self._grants[parsed[1]]
        if grant.redirect_uri not in (None, redirect_uri):
            raise refused(400, "redirect_uri_mismatch", "Bad Request")
        if grant.generation or grant.revoked or self._now() >= grant.code_expires_at:
            raise refused(400, "invalid_grant", "Bad Request")
        grant.generation = 1
        return self._tokens(grant, terms, fresh=True)

    def refresh(self, token: str, terms: Terms) -> Tokens:
        """A new access token, and under rotation a new refresh token. Raises TokenRefused."""
        parsed = self._parse(token)
        if parsed is None or parsed[0] != "rt":
            raise refused(400, "invalid_grant", "Bad Request")
        grant, generation = self._grants[parsed[1]], parsed[2]
        expired = grant.refresh_expires_at is not None and self._now() >= grant.refresh_expires_at
        if grant.revoked or expired or generation > grant.generation:
            raise refused(400, "invalid_grant", wire.REVOKED)
        if generation < grant.generation:
            in_grace = self._now() < grant.rotated_at + terms.grace_seconds
            if terms.rotation == "grace" and generation == grant.generation - 1 and in_grace:
                return replace(self._tokens(grant, terms, fresh=True), superseded=True)
            if terms.rotation != "none":
                self.revoke(grant)
            raise TokenRefused("reuse", wire.token_error(400, "invalid_grant", wire.REVOKED))
        rotates = terms.rotation != "none"
        if rotates:
            grant.generation += 1
            grant.rotated_at = self._now()
        return self._tokens(grant, terms, fresh=rotates)

    def authenticate(self, access_token: str) -> Grant | None:
        """The grant of a live access token; None when it is expired, revoked or not ours."""
        parsed = self._parse(access_token)
        if parsed is None or parsed[0] != "at":
            return None
        grant = self._grants[parsed[1]]
        alive = self._now() < grant.access_expires_at.get(str(parsed[2]), 0.0)
        return grant if alive else None

    def expire(self, grant: Grant) -> int:
        """End every access token of the grant now; say how many were alive."""
        expired = sum(self._now() < at for at in grant.access_expires_at.values())
        grant.access_expires_at.clear()
        self._save(grant)
        return expired

    def revoke(self, grant: Grant) -> None:
        """End the family: no token of it is accepted any more."""
        grant.revoked = True
        grant.access_expires_at.clear()
        self._save(grant)

    def _tokens(self, grant: Grant, terms: Terms, *, fresh: bool) -> Tokens:
        """fresh: the client gets a refresh token, too."""
        now = self._now()
        expires_in = terms.expires_in if grant.expires_in is None else grant.expires_in
        if fresh:
            lifetime = terms.refresh_token_expires_in
            grant.refresh_expires_at = None if lifetime is None else now + lifetime
        grant.access_serial += 1
        alive = [(n, at) for n, at in grant.access_expires_at.items() if now < at]
        grant.access_expires_at = dict(alive[1 - LIVE_ACCESS_TOKENS :])
        grant.access_expires_at[str(grant.access_serial)] = now + expires_in
        self._save(grant)
        return Tokens(
            grant=grant,
            access_token=self._mint("at", grant, grant.access_serial),
            expires_in=expires_in,
            refresh_token=self._mint("rt", grant, grant.generation) if fresh else None,
            refresh_token_expires_in=terms.refresh_token_expires_in if fresh else None,
        )

    def _mint(self, kind: TokenKind, grant: Grant, number: int) -> str:
        claim = f"{kind}-{grant.grant_id}-{number}"
        return f"{claim}-{self._mac(claim)}"

    def _mac(self, claim: str) -> str:
        return hmac.new(self._key, claim.encode(), hashlib.sha256).hexdigest()[:32]

    def _parse(self, token: str) -> tuple[str, str, int] | None:
        """(kind, grant id, number) of a token minted here for a grant that exists."""
        match = _TOKEN.fullmatch(token)
        if match is None:
            return None
        kind, grant_id, number, mac = match.groups()
        genuine = hmac.compare_digest(mac, self._mac(f"{kind}-{grant_id}-{number}"))
        return (kind, grant_id, int(number)) if genuine and grant_id in self._grants else None


def refused(status: int, error: str, description: str) -> TokenRefused:
    return TokenRefused(error, wire.token_error(status, error, description))
