"""From an identity to a caller, and the unit of work that operations run in."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Annotated, Concatenate, ParamSpec, TypeVar

from fastapi import Depends, Request
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from firedrill_kit.telemetry import record
from service import metrics
from service.accounts import Account, LoginSession, Role
from service.database import Database
from service.security.authentication import Identity
from service.security.claims import TokenFormat, same_email
from service.security.composition import Security
from service.security.rejections import credentials_missing, refuse_token
from service.security.tokens import TokenRejected

P = ParamSpec("P")
T = TypeVar("T")
Operation = Callable[Concatenate[AsyncSession, "Caller", P], Awaitable[T]]


@dataclass(frozen=True, slots=True)
class Caller:
    """An account that exists, with the role the database gives it."""

    account_id: int
    email: str = field(repr=False)
    role: Role
    token_format: TokenFormat


async def resolve(session: AsyncSession, identity: Identity) -> Caller:
    """Look the caller up, with one statement.

    Tokens by numeric id only, and the address must match too; sessions by the hash of their
    secret, while the database's clock has not passed their end.
    Raises Failure: TOKEN_SUBJECT_UNKNOWN, TOKEN_CLAIMS_CONFLICT, CREDENTIALS_MISSING (session
    over).
    """
    statement = select(Account.id, Account.email, Account.role)
    if identity.kind is TokenFormat.SESSION:
        statement = statement.join(LoginSession, LoginSession.account_id == Account.id).where(
            LoginSession.id == identity.session_id, LoginSession.expires_at > func.now()
        )
    else:
        statement = statement.where(Account.id == identity.account_id)
    row = (await session.execute(statement)).one_or_none()
    if row is None:
        reason = "expired" if identity.kind is TokenFormat.SESSION else "unknown_subject"
        raise refuse_token(TokenRejected(reason, identity.kind))
    if identity.email is not None and not same_email(identity.email, row.email):
        raise refuse_token(TokenRejected("mismatch", identity.kind, claim="email"))
    return Caller(row.id, row.email, row.role, identity.kind)


class UnitOfWork:
    """Runs operations for the caller of one request, each in a transaction of its own.

    The caller is looked up in the first of them. Both methods raise what `resolve`, the operation
    and `Database.run` raise.
    """

    def __init__(self, database: Database, security: Security, identity: Identity) -> None:
        self.identity = identity
        self._database = database
        self._security = security
        self._caller: Caller | None = None

    async def read(self, operation: Operation[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run an operation that changes nothing and may therefore run twice."""
        return await self._database.run(
            lambda session: self._run(session, operation, *args, **kwargs), idempotent=True
        )

    async def write(self, operation: Operation[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run an operation that changes something; committed when this returns."""
        return await self._database.run(
            lambda session: self._run(session, operation, *args, **kwargs)
        )

    async def caller(self) -> Caller:
        """Return who calls, for work that needs no transaction of its own."""
        if self._caller is not None:
            return self._caller
        return await self.read(_caller)

    async def _run(
        self,
        session: AsyncSession,
        operation: Operation[P, T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        if self._caller is None:
            self._caller = self._admit(await resolve(session, self.identity))
        return await operation(session, self._caller, *args, **kwargs)

    def _admit(self, caller: Caller) -> Caller:
        metrics.TOKENS_ACCEPTED.labels(caller.token_format).inc()
        running = record.current()
        if running is not None:
            running.token_format = caller.token_format
            running.caller = self._security.caller_hash(str(caller.account_id))
            if self.identity.role not in {None, caller.role}:
                # Not refused: a role changes while tokens live, and only the database's counts.
                running.fields["role_changed"] = True
        return caller


async def _caller(_session: AsyncSession, caller: Caller) -> Caller:
    return caller


async def unit_of_work(request: Request) -> UnitOfWork:
    """Return the request's unit of work; Failure(CREDENTIALS_MISSING) on a route that is open.

    A plain `def` would go through the thread pool on every request (85 µs).
    """
    identity: Identity | None = request.scope["state"].get("identity")
    if identity is None:
        raise credentials_missing()
    return UnitOfWork(request.app.state.database, request.app.state.security, identity)


Work = Annotated[UnitOfWork, Depends(unit_of_work)]
