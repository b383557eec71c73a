"""The table: what SQLAlchemy and the database driver can raise → what it means for the request.

Classified by SQLSTATE, not by class: the class of a statement timeout is DBAPIError, of a broken
connection InterfaceError, of a refused one ConnectionRefusedError; none of them says it reliably. A
driver error's own text never leaves this module: PostgreSQL puts values into DETAIL. The one thing taken
from it is the name of what is missing or refused, where the text is made of names alone.
"""

import enum
import re
from collections.abc import Iterator
from dataclasses import dataclass
from traceback import walk_tb
from typing import TypeAlias

import sqlalchemy.exc

from firedrill_kit.telemetry.describe import is_of_application


class Retry(enum.Enum):
    """Whether the same unit of work may be tried again, and how often."""

    NEVER = enum.auto()
    TRANSACTION = enum.auto()
    """The server rolled it back in favour of another: again, at most twice."""
    FRESH_CONNECTION = enum.auto()
    """The connection is gone: once, and only work that may run twice."""
    FRESH_PLAN = enum.auto()
    """A cached plan did not survive DDL and nothing ran: once."""


@dataclass(frozen=True, slots=True)
class Meaning:
    """What an error means.

    error_type: the metric's closed vocabulary. code: of the failure, for counters, spans and lines.
    object: table, column, type or schema that is missing or refused, for the log.
    """

    error_type: str
    code: str
    retry: Retry = Retry.NEVER
    sqlstate: str = ""
    constraint: str = ""
    object: str = ""


class ConnectFailed(Exception):
    """Opening a connection failed. reason: refused, timeout, auth, too_many, starting, other."""

    def __init__(self, reason: str, sqlstate: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.sqlstate = sqlstate


class PoolRefused(Exception):
    """A checkout was refused without waiting. reason: waiter_limit or the gate's connect reason."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


_LOST = Meaning("disconnect", "db_connection_lost", Retry.FRESH_CONNECTION)
_SCHEMA = Meaning("undefined", "schema_mismatch")
_DATA = Meaning("data", "constraint_violation")
_UNREADABLE = Meaning("data", "stored_data_invalid")
_STALE_PLAN = Meaning("cached_plan", "schema_mismatch", Retry.FRESH_PLAN)
_RESOURCES = Meaning("other", "db_unavailable")
_UNKNOWN = Meaning("other", "internal_error")

# Most specific wins: five characters, then the class (two characters), then unknown.
# https://www.postgresql.org/docs/18/errcodes-appendix.html
BY_SQLSTATE: dict[str, Meaning] = {
    "57014": Meaning("statement_timeout", "db_timeout"),
    "55P03": Meaning("lock_timeout", "db_lock_timeout"),
    "40001": Meaning("serialization", "tx_conflict", Retry.TRANSACTION),
    "40P01": Meaning("deadlock", "tx_conflict", Retry.TRANSACTION),
    "23505": Meaning("unique", "constraint_violation"),
    "23502": Meaning("not_null", "constraint_violation"),
    "23503": Meaning("fk", "reference_missing"),
    "23514": Meaning("check", "constraint_violation"),
    "23": Meaning("other", "constraint_violation"),
    "22P02": Meaning("enum", "schema_mismatch"),
    "22": _DATA,
    "42": _SCHEMA,
    "42501": Meaning("privilege", "schema_mismatch"),
    "3F": _SCHEMA,
    "0A000": _STALE_PLAN,
    "25P02": Meaning("in_failed_tx", "internal_error"),
    "25P03": _LOST,
    "25006": _RESOURCES,  # read-only: a standby answered
    "53": _RESOURCES,
    "54": _DATA,
    "57P05": _LOST,
    "57P": _LOST,
    "57P03": Meaning("other", "db_unavailable"),
    "58": _RESOURCES,
    "08": _LOST,
    "28": _RESOURCES,
    "3D": _RESOURCES,
    "P0": _DATA,
}

_STALE_TYPE = "cache lookup failed for type"
"""What a prepared statement says of a type that was dropped, whatever took its name. Internal errors are
not translated."""

UNREADABLE_ERRORS = (OverflowError, ValueError)
"""What decoding a stored value raises that Python has no room for, such as the year 20000."""

_BELOW = frozenset({"sqlalchemy", "asyncpg", "psycopg", "psycopg2", "aiosqlite", "sqlite3"})

# Without an SQLSTATE the server said nothing: by the driver's class, then by SQLAlchemy's. First match wins.
_BY_NAME: dict[str, Meaning] = {
    "InvalidCachedStatementError": _STALE_PLAN,
    "DataError": _DATA,  # a parameter that the driver cannot encode
    "InterfaceError": _LOST,
}
_Class: TypeAlias = type[BaseException] | tuple[type[BaseException], ...]
_BY_CLASS: tuple[tuple[_Class, Meaning], ...] = (
    (sqlalchemy.exc.IntegrityError, Meaning("other", "constraint_violation")),
    (sqlalchemy.exc.DataError, _DATA),
    (sqlalchemy.exc.DBAPIError, _LOST),
    (sqlalchemy.exc.SQLAlchemyError, _UNKNOWN),
)
# Anybody raises these: a file that is missing, another service that does not answer. They are about the
# database only where SQLAlchemy or a driver raised them.
_BY_CLASS_FROM_BELOW: tuple[tuple[_Class, Meaning], ...] = (
    (TimeoutError, Meaning("command_timeout", "db_timeout")),
    (OSError, _LOST),
    (UNREADABLE_ERRORS, _UNREADABLE),
)

CONNECT_REASONS: dict[str, str] = {
    "28000": "auth",
    "28P01": "auth",
    "42501": "auth",  # the role may log in, and not connect to this database
    "53300": "too_many",
    "57P03": "starting",
}
# libpq has only a text for what fails before there is a session; nothing of it is kept.
_CONNECT_TEXTS: tuple[tuple[str, str], ...] = (
    ("connection refused", "refused"),
    ("timeout expired", "timeout"),
    ("timed out", "timeout"),
    ("authentication failed", "auth"),
    ("no password supplied", "auth"),
    ("not permitted to log in", "auth"),
    ("permission denied for database", "auth"),
    ("too many c", "too_many"),  # clients already, connections for role
    ("connection slots are reserved", "too_many"),
    ("starting up", "starting"),
)
_MARK = "firedrill_connect_failure"


def sqlstate_of(error: BaseException | None) -> str:
    """Return the SQLSTATE that the driver put on its error, empty without one."""
    found = getattr(error, "sqlstate", None) or getattr(error, "pgcode", None)
    return found if isinstance(found, str) else ""


def connect_failure(error: BaseException) -> ConnectFailed:
    """Return why a connection could not be opened."""
    if isinstance(error, ConnectFailed):
        return error
    if sqlstate := sqlstate_of(error):
        return ConnectFailed(CONNECT_REASONS.get(sqlstate, "other"), sqlstate)
    if isinstance(error, TimeoutError):
        return ConnectFailed("timeout")
    # A listener that closes at once (a restarting server, a proxy) is a refusal to the caller.
    if isinstance(error, OSError):
        return ConnectFailed("refused")
    text = str(error).lower()
    return ConnectFailed(next((why for part, why in _CONNECT_TEXTS if part in text), "other"))


def mark_connect_failure(error: BaseException, failed: ConnectFailed) -> None:
    """Have `meaning_of` know later that this error ended the opening of a connection."""
    setattr(error, _MARK, failed)


def meaning_of(error: BaseException) -> Meaning | None:
    """Return what a database error means, or None if it is none."""
    for item in _chain(error):
        if isinstance(item, sqlalchemy.exc.TimeoutError):
            return Meaning("pool_timeout", "db_pool_exhausted")
        if isinstance(item, PoolRefused):
            if item.reason == "waiter_limit":
                return Meaning("waiter_limit", "db_pool_exhausted")
            return Meaning(item.reason, "db_unavailable")
        failed = item if isinstance(item, ConnectFailed) else getattr(item, _MARK, None)
        if failed is not None:
            return Meaning(failed.reason, "db_unavailable", sqlstate=failed.sqlstate)
        if sqlstate := sqlstate_of(item):
            # SQLAlchemy's copy has the state, only the driver's own error has the name.
            names = (_constraint_of(cause) for cause in _chain(error))
            constraint = next((name for name in names if name), "")
            found = _by_sqlstate(sqlstate, constraint, _object_of(sqlstate, error))
            return _STALE_PLAN if sqlstate == "XX000" and _STALE_TYPE in str(item) else found
    return _without_sqlstate(error)


def _constraint_of(error: BaseException) -> str | None:
    """Asyncpg has it on the error, psycopg on what it calls the diagnosis."""
    name = getattr(error, "constraint_name", None)
    return name or getattr(getattr(error, "diag", None), "constraint_name", None)


def _by_sqlstate(sqlstate: str, constraint: str, named: str) -> Meaning:
    meaning = next(
        (BY_SQLSTATE[key] for key in (sqlstate, sqlstate[:3], sqlstate[:2]) if key in BY_SQLSTATE),
        _UNKNOWN,
    )
    return Meaning(meaning.error_type, meaning.code, meaning.retry, sqlstate, constraint, named)


# 42P01, 42703, 42704, 3F000, 42501: made of names that stand in the service's own SQL, never of values.
_OBJECT_STATES = frozenset({"42P01", "42703", "42704", "3F000", "42501"})
_OBJECT = re.compile(
    r'(?:relation|column|type|schema) "?(?P<missing>[\w.]{1,127})"?'
    r'(?: of relation "(?P<table>\w{1,63})")? does not exist'
    r"|permission denied for (?:\w+ ){1,2}(?P<refused>[\w.]{1,127})"
)


def _object_of(sqlstate: str, error: BaseException) -> str:
    if sqlstate not in _OBJECT_STATES:
        return ""
    for item in _chain(error):
        match = _OBJECT.fullmatch(str(getattr(item, "message", "")))
        if match:
            names = (match["table"], match["missing"] or match["refused"])
            return ".".join(name for name in names if name)
    return ""


def _without_sqlstate(error: BaseException) -> Meaning | None:
    kinds = (type(item) for item in _chain(error))
    names = {kind.__name__ for kind in kinds if kind.__module__.partition(".")[0] in _BELOW}
    found = next((meaning for name, meaning in _BY_NAME.items() if name in names), None)
    found = found or _by_class(error, _BY_CLASS)
    if found is None and _is_from_below(error):
        found = _by_class(error, _BY_CLASS_FROM_BELOW)
    return found


def _by_class(error: BaseException, table: tuple[tuple[_Class, Meaning], ...]) -> Meaning | None:
    return next((meaning for kind, meaning in table if isinstance(error, kind)), None)


def _is_from_below(error: BaseException) -> bool:
    """Tell whether SQLAlchemy or the driver raised it, and not the application's operation."""
    is_below = False
    for frame, _ in walk_tb(error.__traceback__):
        package = frame.f_globals.get("__name__", "").partition(".")[0]
        if package in _BELOW:
            is_below = True
        elif is_of_application(frame.f_code.co_filename):
            is_below = False
    return is_below


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield the error, what SQLAlchemy wrapped (`orig`) and what the driver wrapped, outermost first."""
    seen: set[int] = set()
    pending: list[object] = [error]
    while pending:
        item = pending.pop(0)
        if not isinstance(item, BaseException) or id(item) in seen:
            continue
        seen.add(id(item))
        yield item
        pending += [getattr(item, "orig", None), item.__cause__]
