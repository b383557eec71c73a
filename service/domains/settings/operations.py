"""Use cases of the settings: versioned by ETag, with a group of columns that may be missing.

`ai_models` came with a later migration. Where its column is missing the rest is read and written all the
same, and the answer says what it leaves out; a write of the missing part is refused, so nothing is lost
silently.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Text, case, func, literal_column, outerjoin, select
from sqlalchemy import cast as sql_cast
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncSession

from firedrill_kit.telemetry.record import current
from service import failures, metrics
from service.accounts import Account
from service.domains.settings.models import Settings, Theme
from service.failures import Failure
from service.security import Caller, CallerQuery, UnitOfWork

AI_MODELS = "ai_models"
MAX_DOCUMENT_BYTES = 256 * 1024
"""Largest stored document that is answered; a body of 1 MiB at most is written, this is what fits a
response built in memory for 30 readers at once (8 MB)."""


_BYTES = func.octet_length(sql_cast(Settings.ai_models, Text))
_STAMP = func.concat(Settings.version, ".", literal_column("settings.xmin::text", Text))
"""Names the stored row: its version and the transaction that wrote it."""
_REQUIRED = (Settings.theme, Settings.notifications, Settings.version, _STAMP.label("stamp"))
_SOURCE = outerjoin(Account, Settings, Settings.account_id == Account.id)
_SETTINGS = CallerQuery(
    *_REQUIRED,
    case((_BYTES <= MAX_DOCUMENT_BYTES, Settings.ai_models)).label(AI_MODELS),
    _BYTES.label("bytes"),
    source=_SOURCE,
)
_WITHOUT_AI_MODELS = CallerQuery(*_REQUIRED, source=_SOURCE)
_STAMPED = CallerQuery(Settings.version, _STAMP.label("stamp"), source=_SOURCE)


@dataclass(frozen=True, slots=True)
class Document:
    """Settings as stored. version: 0 when nothing was ever stored; degraded: groups left out.

    stamp: names the stored row; empty when nothing was ever stored.
    """

    theme: Theme
    notifications: bool
    version: int
    ai_models: Any | None = None
    degraded: tuple[str, ...] = ()
    stamp: str = ""


DEFAULTS = Document(Theme.SYSTEM, notifications=True, version=0)
"""The settings of an account that never stored any."""


async def settings_of(work: UnitOfWork, *, has_ai_models: bool) -> Document:
    """Return the caller's settings, or the defaults.

    has_ai_models: whether the database has that group, as far as the last check knows.
    Raises Failure(RESPONSE_TOO_LARGE) for a document over MAX_DOCUMENT_BYTES, without loading it.
    """
    if has_ai_models:
        rows = await work.read_optional(_SETTINGS)
        if rows is not None:
            return _document(rows[0], degraded=())
    metrics.DEGRADED_RESPONSES.labels(AI_MODELS).inc()
    (row,) = await work.read(_WITHOUT_AI_MODELS)
    document = _document(row, degraded=(AI_MODELS,))
    say_what_is_missing(document)
    return document


async def stamp_of(work: UnitOfWork) -> str:
    """Return the stamp of the caller's stored row; empty when there is none."""
    (row,) = await work.read(_STAMPED)
    return "" if row.version is None else row.stamp


def say_what_is_missing(document: Document) -> None:
    """Leave the groups that are left out with the request."""
    record = current()
    if record is not None and document.degraded:
        record.degraded = document.degraded


async def change_settings(
    session: AsyncSession,
    caller: Caller,
    *,
    has_ai_models: bool,
    allows: Callable[[int | None], bool] | None,
    theme: Theme,
    notifications: bool,
    ai_models: Mapping[str, Any] | None,
    ai_models_bytes: int,
) -> Document:
    """Replace the caller's settings and return them with their new version.

    allows: tells whether the stored version may be replaced (None: nothing is stored); None: any may.
    Raises Failure: PRECONDITION_FAILED, SCHEMA_MISMATCH (a group that is written is missing).
    """
    values: dict[str, Any] = {
        "theme": theme,
        "notifications": notifications,
        "updated_at": func.now(),
    }
    if has_ai_models:
        values[AI_MODELS] = ai_models
    elif ai_models is not None:
        raise Failure(failures.SCHEMA_MISMATCH, cause=AI_MODELS)
    metrics.SETTINGS_BYTES.observe(ai_models_bytes)
    table = Settings.__table__
    stored = None
    if allows is not None:
        stored = await session.scalar(
            select(table.c.version).where(table.c.account_id == caller.account_id)
        )
        if not allows(stored):
            raise Failure(failures.PRECONDITION_FAILED)
    statement = (
        upsert(table)
        .values(account_id=caller.account_id, **values)
        .on_conflict_do_update(
            index_elements=[table.c.account_id],
            set_={**values, "version": table.c.version + 1},
            # Another writer may have come between.
            where=None if allows is None else table.c.version == (stored or 0),
        )
        .returning(table.c.version, _STAMP.label("stamp"))
    )
    written = (await session.execute(statement)).one_or_none()
    if written is None:
        raise Failure(failures.PRECONDITION_FAILED)
    degraded = () if has_ai_models else (AI_MODELS,)
    return Document(
        theme, notifications, written.version, ai_models, degraded, stamp=written.stamp
    )


def _document(row: Any, *, degraded: tuple[str, ...]) -> Document:
    if row.version is None:
        return replace(DEFAULTS, degraded=degraded)
    stored_bytes = getattr(row, "bytes", None) or 0
    metrics.SETTINGS_BYTES.observe(stored_bytes)
    if stored_bytes > MAX_DOCUMENT_BYTES:
        raise Failure(failures.RESPONSE_TOO_LARGE, log={"bytes": stored_bytes})
    return Document(
        row.theme,
        row.notifications,
        row.version,
        getattr(row, "ai_models", None),
        degraded,
        row.stamp,
    )
