"""What is guessed from an application: all that the file will say, before it is written."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Table

from firedrill_kit.config.types import TABLE
from firedrill_kit.init.application import Application
from firedrill_kit.init.operations import Operation, operations_of
from firedrill_kit.init.scope import scope_pattern
from firedrill_kit.init.sign_in import SignIn, api_key_headers, sign_in_of
from firedrill_kit.init.tables import dialects_of_process, named_tables, tables_of_process

PROBES_MAX = 3
_HEALTH = re.compile(
    r"/(?:api/|v[0-9]+/)*_?(?:utils/)?(?:health|live|ready|ping|heartbeat|alive)[a-z_-]*/?$",
    re.IGNORECASE,
)
_NOT_TWICE = re.compile(
    r"log-?_?out|sign-?_?out|callback|redirect|confirm|verify|unsubscribe|export|download|stream"
    r"|openapi|docs|metrics",
    re.IGNORECASE,
)
"""GET routes that end something, answer without an end, or are asked by a browser only."""


@dataclass(frozen=True)
class Guesses:
    """One application, as far as it can be seen from outside.

    mix: routes that can be asked for as they stand. others: those that need something filled in.
    tables: by name, those that drills may lock. named_by: table to the routes whose code names it.
    """

    application: Application
    scope: str
    sign_in: SignIn | None
    headers: Mapping[str, str]
    mix: tuple[Operation, ...]
    others: tuple[Operation, ...]
    probes: tuple[Operation, ...]
    health: tuple[Operation, ...]
    unrelated: Operation | None
    tables: tuple[str, ...]
    odd_tables: tuple[str, ...]
    named_by: Mapping[str, tuple[Operation, ...]]
    dialects: frozenset[str]

    def needs_nobody(self, operation: Operation) -> bool:
        """Whether anybody may ask, where others need a token."""
        signs_in = self.sign_in is not None or bool(self.headers)
        return signs_in and not operation.needs_token and self._tells_of_tokens

    @property
    def _tells_of_tokens(self) -> bool:
        return any(one.needs_token for one in (*self.mix, *self.others))

    @property
    def busiest_table(self) -> str | None:
        """The table that most routes name, one that most other tables refer to where none is named."""
        by_routes = max(self.named_by, key=lambda name: len(self.named_by[name]), default=None)
        return by_routes or next(iter(self.tables), None)


def guesses_of(application: Application) -> Guesses:
    """Raises InitError."""
    # What is mounted twice is one route of the file.
    operations = list({one.name: one for one in operations_of(application.app)}.values())
    sign_in, headers = sign_in_of(operations), api_key_headers(operations)
    asked = [one for one in operations if sign_in is None or one.name != sign_in.operation.name]
    may_ask = sign_in is not None or bool(headers)
    plain = [one for one in asked if one.is_plain and (may_ask or not one.needs_token)]
    mix = [one for one in plain if not _NOT_TWICE.search(one.path)]
    tables = tables_of_process()
    named = {one.name: named_tables(one.calls, tables) for one in operations}
    health = [one for one in asked if one.method == "GET" and _HEALTH.search(one.path)]
    known = [name for name in _by_references(tables) if re.match(TABLE, name)]
    named_by = {
        name: tuple(one for one in operations if name in named[one.name]) for name in known
    }
    return Guesses(
        application=application,
        scope=scope_pattern(one.path for one in operations),
        sign_in=sign_in,
        headers=headers if sign_in is None else {},
        mix=tuple(mix),
        others=tuple(one for one in asked if one not in mix),
        probes=tuple(_probes([one for one in mix if one not in health])),
        health=tuple(health),
        unrelated=_unrelated(asked, plain, health, named),
        tables=tuple(known),
        odd_tables=tuple(sorted(set(tables) - set(known))),
        named_by={name: routes for name, routes in named_by.items() if routes},
        dialects=dialects_of_process(),
    )


def _by_references(tables: Mapping[str, Table]) -> list[str]:
    """Most referred to first: a table of users is what a migration would lock to everybody's harm."""
    referred = Counter(
        referred_to
        for table in tables.values()
        for key in table.foreign_keys
        if (referred_to := key.target_fullname.rpartition(".")[0]) != table.fullname
    )
    return sorted(tables, key=lambda name: (-referred[name], name))


def _probes(candidates: Sequence[Operation]) -> list[Operation]:
    """Those of different parts of the service first; those that need a token see most of it."""
    first: dict[str, Operation] = {}
    for one in sorted(candidates, key=lambda one: not one.needs_token):
        first.setdefault(one.path.rstrip("/").rpartition("/")[0], one)
    spread = [*first.values(), *(one for one in candidates if one not in first.values())]
    return spread[:PROBES_MAX]


def _unrelated(
    asked: Sequence[Operation],
    plain: Sequence[Operation],
    health: Sequence[Operation],
    named: Mapping[str, set[str]],
) -> Operation | None:
    """A route that answers without the database: first of all one that looks like a check of health."""
    open_to_all = [
        one
        for one in asked
        if one.method == "GET" and not one.needs_token and not _NOT_TWICE.search(one.path)
    ]
    free = [one for one in open_to_all if not named[one.name]]
    for candidates in (
        [one for one in free if one in health and one in plain],
        [one for one in free if one in plain],
        [one for one in health if one in plain],
        [one for one in free if all(given["in"] == "path" for given in one.required)],
    ):
        if candidates:
            return candidates[0]
    return None
