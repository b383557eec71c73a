"""Everything the pager remembers, in one SQLite file: notifications, and what the dead-man last heard.

A notification is answered only after it is on disk (synchronous=FULL), so Alertmanager repeats what we lose.
Writes run in the event loop on purpose: one Alertmanager sends a few a minute and each takes milliseconds.
"""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from pydantic import BaseModel, TypeAdapter

from stack.pager.payload import UNKNOWN, Alert, Status

KEPT_NOTIFICATIONS = 10_000

_SCHEMA_VERSION = 2
_SCHEMA = """
create table notification (
    id integer primary key autoincrement,
    received_at real not null,
    receiver text not null,
    status text not null,
    group_key text not null,
    opened integer not null,
    silent_since real,
    alerts text not null,
    truncated integer not null default 0
) strict;
create index notification_group on notification (receiver, group_key, id);
create index notification_received_at on notification (received_at);
create table watchdog (
    only_row integer primary key check (only_row = 1),
    last_beat real not null,
    labels text not null,
    annotations text not null
) strict;
pragma user_version = 2;
"""
_FROM_VERSION_1 = """
alter table notification add column truncated integer not null default 0;
pragma user_version = 2;
"""
_ALERTS = TypeAdapter(tuple[Alert, ...])


class UnusableStore(Exception):
    """The file cannot be opened as a pager's memory; the message says what to do."""


class Notification(BaseModel):
    """One stored notification.

    opened: its group had nothing firing before, so it rang. truncated: alerts of the group left out.
    """

    received_at: datetime
    status: Status
    receiver: str
    group_key: str
    opened: bool
    alerts: tuple[Alert, ...]
    truncated: int = 0


class Watchdog(BaseModel):
    """The newest beat, in seconds since 1970, and what the alert that brought it said."""

    last_beat: float
    labels: dict[str, str]
    annotations: dict[str, str]


class Store:
    """keep: notifications beyond this many are forgotten, oldest first."""

    def __init__(self, path: Path, *, keep: int = KEPT_NOTIFICATIONS) -> None:
        """Raises UnusableStore."""
        self._keep = keep
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(path, isolation_level=None, timeout=5)
            self._db.execute("pragma journal_mode = wal")
            self._db.execute("pragma synchronous = full")
            version = self._db.execute("pragma user_version").fetchone()[0]
            if version == 0:
                self._db.executescript(f"begin exclusive; {_SCHEMA} commit;")
            elif version == 1:
                self._db.executescript(f"begin exclusive; {_FROM_VERSION_1} commit;")
            elif version != _SCHEMA_VERSION:
                raise UnusableStore(f"{path} was written by another version: move it away")
        except (OSError, sqlite3.Error) as error:
            raise UnusableStore(f"cannot keep notifications in {path}: {error}") from error

    def close(self) -> None:
        self._db.close()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("begin immediate")
        try:
            yield
            self._db.execute("commit")
        except BaseException:
            # A failed commit (full disk) has already rolled back by itself.
            if self._db.in_transaction:
                self._db.execute("rollback")
            raise

    def add(
        self,
        *,
        received_at: float,
        receiver: str,
        status: Status,
        group_key: str,
        alerts: tuple[Alert, ...],
        truncated: int = 0,
        silent_since: float | None = None,
    ) -> None:
        """Store one notification. silent_since: the last beat, when Prometheus is silent now.

        Raises sqlite3.Error when it could not be stored (full disk, mostly).
        """
        # To the microsecond, as it is given out: `since` a notification must find that notification.
        moment = datetime.fromtimestamp(received_at, UTC)
        with self._transaction():
            before = self._db.execute(
                "select status, alerts from notification where receiver = ? and group_key = ?"
                " order by id desc limit 1",
                (receiver, group_key),
            ).fetchone()
            said = _ALERTS.validate_json(before[1]) if before else ()
            opened = status == "firing" and (before is None or before[0] != "firing")
            added = self._db.execute(
                "insert into notification"
                " (received_at, receiver, status, group_key, opened, silent_since, alerts, truncated)"
                " values (?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    moment.timestamp(),
                    receiver,
                    status,
                    group_key,
                    opened,
                    silent_since,
                    _ALERTS.dump_json(
                        _with_news(alerts, said), exclude={"__all__": {"note"}}
                    ).decode(),
                    truncated,
                ),
            )
            self._db.execute(
                "delete from notification where id <= ?", ((added.lastrowid or 0) - self._keep,)
            )

    def doubt_resolutions(self, *, silent_since: float) -> None:
        """Mark what arrived after the last beat: Prometheus may not have been there to say it."""
        with self._transaction():
            self._db.execute(
                "update notification set silent_since = ?"
                " where silent_since is null and received_at > ?",
                (silent_since, silent_since),
            )

    def newest(
        self, *, limit: int, receiver: str | None = None, since: float | None = None
    ) -> list[Notification]:
        """Newest first. since: seconds since 1970, inclusive."""
        return self._select(
            "where (?1 is null or receiver = ?1) and (?2 is null or received_at >= ?2)"
            " order by id desc limit ?3",
            receiver,
            since,
            limit,
        )

    def last_of_each_group(self) -> list[Notification]:
        """The newest notification of every group, newest first: what Alertmanager last said of it."""
        return self._select(
            "where id in (select max(id) from notification group by receiver, group_key)"
            " order by id desc"
        )

    def _select(self, clause: str, *values: object) -> list[Notification]:
        rows = self._db.execute(
            "select received_at, status, receiver, group_key, opened, alerts, truncated, silent_since"  # noqa: S608 - the clauses are the constants above
            f" from notification {clause}",
            values,
        )
        return [
            Notification(
                received_at=datetime.fromtimestamp(received_at, UTC),
                status=status,
                receiver=receiver,
                group_key=group_key,
                opened=opened,
                alerts=_noted(_ALERTS.validate_json(alerts), silent_since),
                truncated=truncated,
            )
            for received_at, status, receiver, group_key, opened, alerts, truncated, silent_since in rows
        ]

    def hear(self, beat: Watchdog) -> None:
        """Remember the newest beat. Raises sqlite3.Error."""
        self._db.execute(
            "insert or replace into watchdog values (1, ?, ?, ?)",
            (beat.last_beat, json.dumps(beat.labels), json.dumps(beat.annotations)),
        )

    def watchdog(self) -> Watchdog | None:
        row = self._db.execute("select last_beat, labels, annotations from watchdog").fetchone()
        if row is None:
            return None
        return Watchdog(
            last_beat=row[0], labels=json.loads(row[1]), annotations=json.loads(row[2])
        )


def _with_news(alerts: tuple[Alert, ...], said: tuple[Alert, ...]) -> tuple[Alert, ...]:
    """Mark what the group's last notification did not say. An alert that fires anew is news."""
    known = {(frozenset(one.labels.items()), one.status, one.starts_at) for one in said}
    return tuple(
        alert.model_copy(
            update={
                "is_news": (frozenset(alert.labels.items()), alert.status, alert.starts_at)
                not in known
            }
        )
        for alert in alerts
    )


def _noted(alerts: tuple[Alert, ...], silent_since: float | None) -> tuple[Alert, ...]:
    if silent_since is None:
        return alerts
    return tuple(
        alert.model_copy(update={"note": UNKNOWN})
        if alert.status == "resolved"
        and (alert.ends_at is None or alert.ends_at.timestamp() > silent_since)
        else alert
        for alert in alerts
    )
