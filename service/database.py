"""The engine, and the unit of work: one transaction, committed before anything is answered.

`Database.read(statement)` and `Database.run(operation)` are the only ways to the database. They are calls
and not a dependency with `yield`, because a dependency commits after the answer has been sent, cannot run the
work again after a deadlock, and holds the connection while the answer is built
(docs/decisions/0001-unit-of-work-as-a-call.md). A read needs no transaction: one round trip instead of three,
and a third of the CPU (docs/decisions/0010-the-services-own-path.md).
"""

import math
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias, TypeVar

import asyncpg
import sqlalchemy.exc
import structlog
from sqlalchemy import URL, Executable, Row, Table
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase
from sqlalchemy.util import greenlet_spawn

from firedrill_kit import metrics as core_metrics
from firedrill_kit.driver_errors import (
    UNREADABLE_ERRORS,
    ConnectFailed,
    Meaning,
    PoolRefused,
    Retry,
    connect_failure,
    meaning_of,
)
from firedrill_kit.pool import MeasuredPool, PoolMeter, measure_pool, pool_of
from firedrill_kit.resilience import deadline
from firedrill_kit.statements import measure_statements
from firedrill_kit.telemetry.traces import past_span
from service import failures, metrics
from service.config import Config
from service.database_failures import failure_of, mode_of
from service.route_shares import RouteShares

T = TypeVar("T")
Operation = Callable[[AsyncSession], Awaitable[T]]

MAX_TRANSACTION_RETRIES = 2
MIN_SECONDS_TO_RETRY = 0.05
"""With less left of the deadline a retry only turns a clear answer into a 504."""

UNPINGED_SECONDS = 5.0
"""A server that ends a connection is seen without a ping; what a firewall forgets was idle for minutes."""

_log = structlog.get_logger()


AnyRow: TypeAlias = Row[*tuple[Any, ...]]


class Base(DeclarativeBase):
    """The tables of this service."""

    if TYPE_CHECKING:
        __table__: ClassVar[Table]  # declared as any FromClause, which cannot be written to


class Database:
    """The one engine of a process."""

    def __init__(self, config: Config, *, pings: bool = True) -> None:
        """pings: a connection that was idle for long, so that a dead one costs no request."""
        self._config = config
        self.engine = self._create_engine(pings=pings)
        meter = PoolMeter(
            metrics.POOL,
            config.pool_waiters_max,
            config.connect_gate_seconds,
            unpinged_seconds=UNPINGED_SECONDS,
        )
        measure_pool(self.engine.sync_engine, meter)
        self._shares = RouteShares(
            meter,
            math.ceil((config.pool_size + config.pool_max_overflow) * config.route_share_max),
            config.pool_timeout_seconds,
        )
        measure_statements(self.engine.sync_engine)

    @property
    def pool(self) -> MeasuredPool:
        return pool_of(self.engine.sync_engine)

    async def run(self, operation: Operation[T], *, idempotent: bool = False) -> T:
        """Run the operation in one transaction and return its result once it is committed.

        idempotent: the operation may run twice; then it is tried once more on a fresh connection when
        the first one breaks. Serialization failures and deadlocks are tried again at most twice, the
        whole operation each time, so it must keep nothing outside the session.
        Raises Failure: the operation's own, or what `driver_errors` makes of the driver's.
        """
        return await self._with_retries(
            partial(self._transaction, operation), idempotent=idempotent
        )

    async def read(
        self, statement: Executable, parameters: Mapping[str, Any] | None = None
    ) -> Sequence[AnyRow]:
        """Return the rows of one statement that changes nothing, tried again as `run` does.

        statement: built once, with `bindparam`; to build it anew costs as much as to send it.
        """
        return await self._with_retries(
            partial(self._rows, statement, parameters), idempotent=True
        )

    async def read_optional(
        self, statement: Executable, parameters: Mapping[str, Any] | None = None
    ) -> Sequence[AnyRow] | None:
        """As `read`; None when the database lacks an object that it names, or refuses it."""
        try:
            attempt = partial(self._rows, statement, parameters)
            return await self._with_retries(attempt, idempotent=True, expected=_MISSING_OR_REFUSED)
        except _DatabaseError:
            return None

    async def _with_retries(
        self,
        attempt: Callable[[], Awaitable[T]],
        *,
        idempotent: bool,
        expected: Sequence[str] = (),
    ) -> T:
        """expected: types of errors that are the caller's to handle: they are raised as _DatabaseError."""
        retries = 0
        while True:
            try:
                return await self._with_named_errors(attempt)
            except _DatabaseError as failed:
                meaning = failed.meaning
                if meaning.error_type in expected:
                    raise
                if not _may_retry(meaning, retries, idempotent=idempotent):
                    self._log_error(failed)
                    raise failure_of(meaning) from failed.error
                retries += 1
                metrics.DB_RETRIES.labels(_retry_reason(meaning)).inc()

    async def _with_named_errors(self, attempt: Callable[[], Awaitable[T]]) -> T:
        """Raises _DatabaseError for what comes from the driver."""
        try:
            async with self._shares.connection_slot():
                return await attempt()
        except _DRIVERS as error:
            meaning = meaning_of(error)
            if meaning is None:
                raise
            raise _DatabaseError(meaning, error) from error

    async def _transaction(self, operation: Operation[T]) -> T:
        async with AsyncSession(self.engine, expire_on_commit=False) as session:
            try:
                result = await operation(session)
            except BaseException:
                core_metrics.DB_TRANSACTIONS.labels("rolled_back").inc()
                raise
            await _commit(session)
            return result

    async def _rows(
        self, statement: Executable, parameters: Mapping[str, Any] | None
    ) -> Sequence[AnyRow]:
        def rows() -> Sequence[AnyRow]:
            with self.engine.sync_engine.connect() as connection:
                connection.execution_options(isolation_level="AUTOCOMMIT")
                return connection.execute(statement, parameters).all()

        # One greenlet for checkout, statement and return; AsyncConnection makes three (100 µs).
        return await greenlet_spawn(rows)

    async def close(self) -> None:
        await self.engine.dispose()

    def _create_engine(self, *, pings: bool) -> AsyncEngine:
        config = self._config
        # Connections are made by `_connect`; of the URL the spans take where the database is.
        url = URL.create(
            "postgresql+asyncpg",
            host=config.database_host,
            port=config.database_port,
            database=config.database_name,
        )
        return create_async_engine(
            url,
            pool_size=config.pool_size,
            max_overflow=config.pool_max_overflow,
            pool_timeout=config.pool_timeout_seconds,
            # Three round trips (BEGIN, an empty statement, ROLLBACK), so not for UNPINGED_SECONDS.
            pool_pre_ping=pings,
            pool_recycle=1800,
            # LIFO would keep a few connections hot and let the rest go stale behind firewalls.
            pool_use_lifo=False,
            hide_parameters=True,
            async_creator=self._connect,
        )

    async def _connect(self, *_args: object, **_more: object) -> "asyncpg.Connection[Any]":
        try:
            return await connect(self._config, application_name="firedrill-api")
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            failed = connect_failure(error)
            name = "db_auth_failed" if failed.reason == "auth" else "db_connect_failed"
            _log.warning(name, reason=failed.reason, sqlstate=failed.sqlstate or None)
            raise failed from error

    def _log_error(self, failed: "_DatabaseError") -> None:
        meaning = failed.meaning
        code = mode_of(meaning).code
        fields: dict[str, object] = {}
        if code == failures.DB_POOL_EXHAUSTED.code:
            fields["top_holders"] = self.pool.meter.top_holders()
        _log.warning(
            code,
            error_type=meaning.error_type,
            sqlstate=meaning.sqlstate or None,
            constraint=meaning.constraint or None,
            object=meaning.object or None,
            **fields,
        )


_DRIVERS = (
    sqlalchemy.exc.SQLAlchemyError,
    OSError,
    ConnectFailed,
    PoolRefused,
    *UNREADABLE_ERRORS,
)
"""What may come from the driver; `meaning_of` knows what does."""


_MISSING_OR_REFUSED = ("undefined", "privilege")
"""Types of errors about an object that is missing or refused."""


async def connect(config: Config, *, application_name: str) -> "asyncpg.Connection[Any]":
    """Open one connection with the service's limits, outside any pool.

    Raises what asyncpg raises; `driver_errors.connect_failure` names it.
    """
    return await asyncpg.connect(
        host=config.database_host,
        port=config.database_port,
        user=config.database_user,
        password=config.database_password.get_secret_value(),
        database=config.database_name,
        timeout=config.connect_timeout_seconds,
        command_timeout=config.command_timeout_seconds,
        server_settings={
            "application_name": application_name,
            "statement_timeout": _milliseconds(config.statement_timeout_seconds),
            "lock_timeout": _milliseconds(config.lock_timeout_seconds),
            "idle_in_transaction_session_timeout": _milliseconds(
                config.idle_in_transaction_timeout_seconds
            ),
        },
    )


class _DatabaseError(Exception):
    """A unit of work ended by the driver; carries what it means to `run`."""

    def __init__(self, meaning: Meaning, error: BaseException) -> None:
        super().__init__(meaning.error_type)
        self.meaning = meaning
        self.error = error


async def _commit(session: AsyncSession) -> None:
    started = time.perf_counter()
    try:
        await session.commit()
    except BaseException as error:
        core_metrics.DB_TRANSACTIONS.labels("commit_failed").inc()
        meaning = meaning_of(error)
        error_type = meaning.error_type if meaning else "other"
        past_span("db.commit", seconds=time.perf_counter() - started, error_type=error_type)
        if meaning is not None and meaning.retry is Retry.NEVER:
            raise _DatabaseError(
                Meaning(
                    meaning.error_type,
                    failures.COMMIT_FAILED.code,
                    Retry.NEVER,
                    meaning.sqlstate,
                    meaning.constraint,
                ),
                error,
            ) from error
        if meaning is not None and meaning.retry is Retry.FRESH_CONNECTION:
            # Whether it was committed is unknown: never again, the caller has to look.
            raise _DatabaseError(
                Meaning(
                    "disconnect", failures.DB_CONNECTION_LOST.code, Retry.NEVER, meaning.sqlstate
                ),
                error,
            ) from error
        raise
    core_metrics.DB_TRANSACTIONS.labels("committed").inc()


def _may_retry(meaning: Meaning, retries: int, *, idempotent: bool) -> bool:
    if deadline.remaining() < MIN_SECONDS_TO_RETRY:
        return False
    match meaning.retry:
        case Retry.TRANSACTION:
            return retries < MAX_TRANSACTION_RETRIES
        case Retry.FRESH_CONNECTION:
            return idempotent and retries < 1
        case Retry.FRESH_PLAN:
            return retries < 1
        case Retry.NEVER:
            return False


_RETRY_REASONS = {"serialization": "40001", "deadlock": "40P01", "cached_plan": "cached_plan"}


def _retry_reason(meaning: Meaning) -> str:
    return _RETRY_REASONS.get(meaning.error_type, "disconnect")


def _milliseconds(seconds: float) -> str:
    return str(int(seconds * 1000))
