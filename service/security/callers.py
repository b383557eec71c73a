"""From an identity to a caller, and the unit of work that operations run in."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Concatenate, ParamSpec, TypeVar

from fastapi import Depends, Request
from sqlalchemy import ColumnExpressionArgument, FromClause, Select, bindparam, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from firedrill_kit.telemetry import record
from service import metrics
from service.accounts import Account, LoginSession, Role
from service.database import AnyRow, Database
from service.provided import provided
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


class CallerQuery:
    """A read of what belongs to the caller, in the statement that also looks the caller up.

    columns: what is read, of `source`: accounts with outer joins, so that a caller without anything is
    still a row. Its rows have them by name, after the three of the caller. Made once, at import.
    """

    def __init__(
        self,
        *columns: ColumnExpressionArgument[Any],
        source: FromClause = Account.__table__,
        order_by: Sequence[ColumnExpressionArgument[Any]] = (),
    ) -> None:
        caller = (
            Account.id.label("caller_id"),
            Account.email.label("caller_email"),
            Account.role.label("caller_role"),
        )
        found = select(*caller, *columns).select_from(source).order_by(*order_by)
        self._of_token = found.where(Account.id == bindparam("caller_account_id"))
        self._of_session = found.join(LoginSession, LoginSession.account_id == Account.id).where(
            LoginSession.id == bindparam("caller_session_id"),
            LoginSession.expires_at > func.now(),
        )

    def of(self, identity: Identity) -> tuple[Select[*tuple[Any, ...]], dict[str, Any]]:
        """Return the statement and its parameters for this identity.

        Tokens by numeric id only; sessions by the hash of their secret, while the database's clock has
        not passed their end.
        """
        if identity.kind is TokenFormat.SESSION:
            return self._of_session, {"caller_session_id": identity.session_id}
        return self._of_token, {"caller_account_id": identity.account_id}


_CALLER = CallerQuery()


def caller_of(identity: Identity, rows: Sequence[AnyRow]) -> Caller:
    """Return the caller out of the rows of a CallerQuery; of a token the address must match, too.

    Raises Failure: TOKEN_SUBJECT_UNKNOWN, TOKEN_CLAIMS_CONFLICT, CREDENTIALS_MISSING (session over).
    """
    if not rows:
        reason = "expired" if identity.kind is TokenFormat.SESSION else "unknown_subject"
        raise refuse_token(TokenRejected(reason, identity.kind))
    account_id, email, role = rows[0][:3]
    if identity.email is not None and not same_email(identity.email, email):
        raise refuse_token(TokenRejected("mismatch", identity.kind, claim="email"))
    return Caller(account_id, email, role, identity.kind)


class UnitOfWork:
    """Reads and changes what belongs to the caller of one request.

    The caller is looked up by the first of them. All raise what `caller_of`, the operation and `Database`
    raise.
    """

    def __init__(self, database: Database, security: Security, identity: Identity) -> None:
        self.identity = identity
        self._database = database
        self._security = security
        self._caller: Caller | None = None

    async def read(self, query: CallerQuery, **parameters: Any) -> Sequence[AnyRow]:
        """Return the rows of the query, at least one."""
        statement, own = query.of(self.identity)
        rows = await self._database.read(statement, own | parameters)
        self._admit(rows)
        return rows

    async def read_optional(
        self, query: CallerQuery, **parameters: Any
    ) -> Sequence[AnyRow] | None:
        """As `read`; None when the database lacks an object that the query names, or refuses it."""
        statement, own = query.of(self.identity)
        rows = await self._database.read_optional(statement, own | parameters)
        if rows is not None:
            self._admit(rows)
        return rows

    async def write(self, operation: Operation[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run an operation that changes something in a transaction; committed when this returns."""

        async def run(session: AsyncSession) -> T:
            caller = self._caller
            if caller is None:
                caller = self._admit((await session.execute(*_CALLER.of(self.identity))).all())
            return await operation(session, caller, *args, **kwargs)

        return await self._database.run(run)

    async def caller(self) -> Caller:
        """Return who calls, for work that needs nothing else of the database."""
        if self._caller is None:
            return self._admit(await self._database.read(*_CALLER.of(self.identity)))
        return self._caller

    def _admit(self, rows: Sequence[AnyRow]) -> Caller:
        caller = caller_of(self.identity, rows)
        if self._caller is None:
            self._note(caller)
        self._caller = caller
        return caller

    def _note(self, caller: Caller) -> None:
        metrics.TOKENS_ACCEPTED.labels(caller.token_format).inc()
        running = record.current()
        if running is not None:
            running.token_format = caller.token_format
            running.caller = self._security.caller_hash(str(caller.account_id))
            if self.identity.role not in {None, caller.role}:
                # Not refused: a role changes while tokens live, and only the database's counts.
                running.fields["role_changed"] = True


async def unit_of_work(request: Request) -> UnitOfWork:
    """Return the request's unit of work; Failure(CREDENTIALS_MISSING) on a route that is open.

    A plain `def` would go through the thread pool on every request (85 µs).
    """
    identity: Identity | None = request.scope["state"].get("identity")
    if identity is None:
        raise credentials_missing()
    return UnitOfWork(provided(request, Database), provided(request, Security), identity)


Work = Annotated[UnitOfWork, Depends(unit_of_work)]
