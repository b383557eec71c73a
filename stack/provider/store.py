"""What must outlive the process: grants and calendars, in one SQLite file.

Written through at each change, read once at the start. WAL with synchronous=NORMAL: a killed
process loses nothing, a power cut may lose the last writes, and a write costs no fsync on the
event loop.
"""

import sqlite3
from dataclasses import asdict
from pathlib import Path

import orjson

from stack.provider.events import Calendar, Calendars, Change
from stack.provider.grants import Grant, Grants

_SCHEMA = """
create table if not exists seed (seed text not null);
create table if not exists grants (grant_id text primary key, record text not null);
create table if not exists calendars (
    user text primary key, created_at real not null, initial_events integer not null
);
create table if not exists changes (
    number integer primary key, user text not null, kind text not null,
    at real not null, event_id text not null
);
"""


class StateUnusable(Exception):
    """The state file cannot serve; the message says why and what to do."""


class Store:
    def __init__(self, path: Path, *, seed: str) -> None:
        """Open or make the file. Raises StateUnusable: unreadable, or made with another seed."""
        try:
            # The app may be built in one thread and served in another, never used by two at once.
            self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            self._db.execute("pragma journal_mode = wal")
            self._db.execute("pragma synchronous = normal")
            self._db.executescript(_SCHEMA)
            row = self._db.execute("select seed from seed").fetchone()
        except sqlite3.Error as error:
            raise StateUnusable(
                f"state file {path} cannot be used: {error}; name another file or remove it"
            ) from error
        if row is None:
            self._db.execute("insert into seed values (?)", (seed,))
        elif row[0] != seed:
            self.close()
            raise StateUnusable(
                f"state file {path} was written with --seed {row[0]}: its tokens would not be "
                f"recognised with --seed {seed}; use the old seed or remove the file"
            )

    def close(self) -> None:
        self._db.close()

    def save_grant(self, grant: Grant) -> None:
        record = orjson.dumps(asdict(grant)).decode()
        self._db.execute("insert or replace into grants values (?, ?)", (grant.grant_id, record))

    def save_calendar(self, calendar: Calendar) -> None:
        row = (calendar.user, calendar.created_at, calendar.initial_events)
        self._db.execute("insert into calendars values (?, ?, ?)", row)

    def save_change(self, user: str, change: Change) -> None:
        row = (user, change.kind, change.at, change.event_id)
        self._db.execute("insert into changes (user, kind, at, event_id) values (?, ?, ?, ?)", row)

    def restore(self, grants: Grants, calendars: Calendars) -> None:
        records = self._db.execute("select record from grants order by rowid")
        grants.load(Grant(**orjson.loads(record)) for (record,) in records)
        for user, created_at, initial_events in self._db.execute("select * from calendars"):
            changes = self._db.execute(
                "select kind, at, event_id from changes where user = ? order by number", (user,)
            )
            calendars.load(
                user,
                created_at=created_at,
                initial_events=initial_events,
                changes=(Change(*row) for row in changes),
            )
