"""Use cases of signing in and out."""

import unicodedata
from dataclasses import dataclass, field
from datetime import timedelta

from sqlalchemy import Interval, bindparam, delete, func, insert, select
from sqlalchemy.ext.asyncio import AsyncSession

from service import failures
from service.accounts import Account, LoginSession, Role
from service.config import Config
from service.database import Database
from service.domains.auth.limit import SignInLimit
from service.domains.auth.passwords import Passwords
from service.failures import Failure
from service.security import Caller
from service.security.sessions import new_secret, session_id


@dataclass(frozen=True, slots=True)
class SignedIn:
    """secret: what the session cookie carries; kept nowhere else."""

    account_id: int
    email: str = field(repr=False)
    role: Role
    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class _Credentials:
    account_id: int
    email: str = field(repr=False)
    role: Role
    password_hash: str = field(repr=False)


class SignIn:
    """Signing in. One for a process: it has threads and remembers failures."""

    def __init__(
        self, database: Database, passwords: Passwords, limit: SignInLimit, config: Config
    ) -> None:
        self._database = database
        self._passwords = passwords
        self._limit = limit
        self._session_lifetime = timedelta(seconds=config.session_lifetime_seconds)

    async def with_password(self, email: str, password: str, *, address: str) -> SignedIn:
        """Open a session for the account. address: where the request comes from, for the limit.

        No connection is held while the password is checked.
        Raises Failure: RATE_LIMITED, LOGIN_FAILED (the same for an unknown address and a wrong
        password).
        """
        # The database folds case on both sides, so that its unique index on lower(email) is used and
        # decides; the limit only has to take the spellings of one account for one.
        normal = unicodedata.normalize("NFC", email)
        async with self._limit.attempt(normal.casefold(), address=address) as attempt:
            found = await _credentials(self._database, normal)
            is_match = await self._passwords.match(
                password, found.password_hash if found else None
            )
            if found is None or not is_match:
                attempt.has_failed = True
                raise Failure(failures.LOGIN_FAILED, headers={"WWW-Authenticate": "Bearer"})
        secret = new_secret()
        await self._database.run(
            lambda session: _open_session(
                session, found.account_id, secret, lifetime=self._session_lifetime
            )
        )
        return SignedIn(found.account_id, found.email, found.role, secret)

    def close(self) -> None:
        self._passwords.close()


_CREDENTIALS = select(Account.id, Account.email, Account.role, Account.password_hash).where(
    func.lower(Account.email) == func.lower(bindparam("email"))
)
_END_EXPIRED = delete(LoginSession.__table__).where(
    LoginSession.account_id == bindparam("account_id"), LoginSession.expires_at <= func.now()
)
_OPEN = insert(LoginSession.__table__).values(
    expires_at=func.now() + bindparam("lifetime", type_=Interval)
)


async def _credentials(database: Database, email: str) -> _Credentials | None:
    rows = await database.read(_CREDENTIALS, {"email": email})
    return _Credentials(*rows[0]) if rows else None


async def _open_session(
    session: AsyncSession, account_id: int, secret: str, *, lifetime: timedelta
) -> None:
    # Each sign-in clears up after its account, so that the table needs no sweeper.
    await session.execute(_END_EXPIRED, {"account_id": account_id})
    await session.execute(
        _OPEN, {"id": session_id(secret), "account_id": account_id, "lifetime": lifetime}
    )


async def end_session(session: AsyncSession, _caller: Caller, *, own_session_id: bytes) -> None:
    """End one session; other sessions of the caller stay."""
    await session.execute(delete(LoginSession).where(LoginSession.id == own_session_id))
