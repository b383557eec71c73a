"""What `python -m service.migrations` can do, as functions."""

import io
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
from alembic import command
from alembic.config import Config as AlembicConfig
from alembic.runtime.migration import MigrationContext, MigrationInfo
from alembic.script import Script, ScriptDirectory
from alembic.util import CommandError
from pydantic import SecretStr
from sqlalchemy import URL, Connection, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine
from sqlalchemy.pool import NullPool

from firedrill_kit.driver_errors import connect_failure, meaning_of
from service import schema
from service.config import Config

_LOCK = 0x66697265
"""Key of the advisory lock that one upgrade holds ("fire"); any number that nothing else uses."""

Say = Callable[[str], None]


class Refused(Exception):
    """The command cannot do what it is asked; the text is one line for the operator."""


class UnknownRevision(Refused):
    """The revision named on the command line is not in the history."""


def head() -> str:
    """Return the newest revision."""
    revision = _scripts().get_current_head()
    assert revision is not None  # noqa: S101 - the history is not empty
    return revision


async def upgrade(config: Config, *, revision: str = "head", say: Say = print) -> None:
    """Bring the database to the revision, one transaction a revision, as the schema's owner.

    say: called with each step, one line. Raises Refused.
    """
    _known(revision)
    async with _connected(config, config.migration_user, config.migration_password) as connection:
        # Tried, not waited for: a waiting statement is a transaction, and building an index
        # concurrently waits for those.
        locked = await connection.scalar(text("SELECT pg_try_advisory_lock(:key)"), {"key": _LOCK})
        await connection.commit()
        if not locked:
            raise Refused("another upgrade is running: wait for it")
        await _refuse_newer(connection)
        await connection.run_sync(_upgrade, config, revision, say)


def upgrade_sql(config: Config, *, revision: str = "head") -> str:
    """Return the SQL of an upgrade from an empty database, without connecting to one."""
    _known(revision)
    output = io.StringIO()
    settings = _settings(config)
    settings.output_buffer = output
    command.upgrade(settings, revision, sql=True)
    return output.getvalue()


async def current(config: Config) -> str:
    """Return the revision of the database, "" when it has none. Raises Refused."""
    async with _connected(config, config.migration_user, config.migration_password) as connection:
        return await connection.run_sync(_revision)


async def drifts(config: Config) -> list[schema.Drift]:
    """Return what the service, with its own role, would miss in the database."""
    return schema.compare(schema.expected(), await catalogue(config))


async def catalogue(config: Config) -> schema.Catalogue:
    """Return what the database has, as the service's role sees it."""
    async with _connected(config, config.database_user, config.database_password) as connection:
        return await schema.actual(connection)


def _upgrade(connection: Connection, config: Config, revision: str, say: Say) -> None:
    def applied(*, step: MigrationInfo, **_more: Any) -> None:
        summary = step.up_revision.doc if isinstance(step.up_revision, Script) else ""
        say(f"applied {step.up_revision_id}: {summary}")

    settings = _settings(config)
    settings.attributes.update(connection=connection, on_version_apply=applied)
    try:
        command.upgrade(settings, revision)
    except CommandError as error:
        raise Refused(str(error)) from error


def _settings(config: Config) -> AlembicConfig:
    settings = AlembicConfig()
    # A configuration file would interpolate `%`.
    settings.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    settings.set_main_option("path_separator", "os")
    settings.attributes["app_role"] = config.database_user
    return settings


def _scripts() -> ScriptDirectory:
    return ScriptDirectory(str(Path(__file__).parent))


def _known(revision: str) -> None:
    known = sorted(script.revision for script in _scripts().walk_revisions())
    if revision not in {*known, "head"}:
        raise UnknownRevision(
            f"no revision {revision!r}: the history has {', '.join(known)}, head"
        )


async def _refuse_newer(connection: AsyncConnection) -> None:
    revision = await connection.run_sync(_revision)
    await connection.rollback()
    try:
        if revision:
            _scripts().get_revision(revision)
    except CommandError:
        raise Refused(
            f"the database is at {revision}, which this version does not know: it is newer"
        ) from None


def _revision(connection: Connection) -> str:
    return ",".join(MigrationContext.configure(connection).get_current_heads())


@asynccontextmanager
async def _connected(
    config: Config, user: str, password: SecretStr
) -> AsyncIterator[AsyncConnection]:
    engine = create_async_engine(
        URL.create(
            "postgresql+asyncpg",
            user,
            password.get_secret_value(),
            config.database_host,
            config.database_port,
            config.database_name,
        ),
        poolclass=NullPool,
        connect_args={
            "timeout": config.connect_timeout_seconds,
            "server_settings": {
                "application_name": "firedrill-migrations",
                # While DDL waits for its lock every request on the table waits behind it, so it
                # waits no longer than a request may.
                "lock_timeout": str(int(config.lock_timeout_seconds * 1000)),
            },
        },
    )
    try:
        connection = await engine.connect()
    except (OSError, asyncpg.PostgresError, DBAPIError) as error:
        place = f"{config.database_host}:{config.database_port}/{config.database_name}"
        raise Refused(f"cannot connect to {place} as {user}: {_reason(error)}") from error
    try:
        yield connection
    except DBAPIError as error:
        raise Refused(_explain(error)) from error
    finally:
        await connection.close()
        await engine.dispose()


def _reason(error: BaseException) -> str:
    cause = error.orig if isinstance(error, DBAPIError) and error.orig else error
    failed = connect_failure(cause)
    return _CONNECT_REASONS.get(failed.reason) or _message(cause, failed.sqlstate)


_CONNECT_REASONS = {
    "refused": "nothing answers; start the database or set DATABASE_HOST and DATABASE_PORT",
    "timeout": "no answer in time; check DATABASE_HOST, DATABASE_PORT and the network",
    "auth": "not accepted; check the role and its password",
    "too_many": "it has no connection left",
    "starting": "it is starting or stopping; try again",
}


def _explain(error: DBAPIError) -> str:
    meaning = meaning_of(error)
    sqlstate = meaning.sqlstate if meaning else ""
    if sqlstate == "55P03":
        return (
            "a table was in use for longer than LOCK_TIMEOUT_SECONDS; the revisions said to be"
            " applied stay, run it again"
        )
    return _message(error.orig or error, sqlstate)


def _message(error: BaseException, sqlstate: str) -> str:
    # The first line alone: what follows is DETAIL, and PostgreSQL puts values into it.
    lines = str(error.__cause__ or error).splitlines() or [type(error).__name__]
    return f"the database refused (SQLSTATE {sqlstate or 'unknown'}): {lines[0]}"
