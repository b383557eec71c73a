"""The parts of the benchmark by name, in their order, and what they need in the database."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import asyncpg

from loadtests.bench import capacity, rounds, routes, scrape, sinks, summary
from loadtests.bench.apps.table import TABLE
from loadtests.bench.laboratory import Laboratory
from loadtests.traffic.demo_callers import older_tokens
from loadtests.world.surroundings import Surroundings
from stack import demo

PEOPLE = 1000


@dataclass(frozen=True)
class Tokens:
    """access: of one demo user with a calendar. older: by e-mail address, of the older format."""

    access: str = field(repr=False)
    older: Mapping[str, str] = field(repr=False)


Found = dict[str, Any]
"""Figures by the name that they have in the record, and the rows that they are made of."""


def _modes(lab: Laboratory, _: Tokens) -> Found:
    part = rounds.measured(lab)
    return {"modes": summary.of_modes(part), "rows_of_modes": part["rows"]}


def _routes(lab: Laboratory, tokens: Tokens) -> Found:
    rows = routes.measured(lab, tokens.access)
    return {"routes": summary.of_routes(rows), "rows_of_routes": rows}


def _sinks(lab: Laboratory, _: Tokens) -> Found:
    rows = sinks.measured(lab)
    return {"sinks": summary.of_sinks(rows), "rows_of_sinks": rows}


PARTS: Mapping[str, Callable[[Laboratory, Tokens], Found]] = {
    "modes": _modes,
    "routes": _routes,
    "sinks": _sinks,
    "scrape": lambda lab, _: {"scrape": scrape.measured(lab)},
    "capacity": lambda lab, tokens: {"capacity": capacity.measured(lab, tokens.older)},
}


async def prepare(around: Surroundings) -> None:
    """Make the table that the modes read. Raises asyncpg.PostgresError."""
    connection = await asyncpg.connect(around.dsn("superuser"))
    try:
        await connection.execute(
            f"CREATE TABLE {TABLE} (id integer PRIMARY KEY, email text NOT NULL, "
            "display_name text NOT NULL, time_zone text NOT NULL)"
        )
        await connection.execute(
            f"INSERT INTO {TABLE} SELECT n, 'user' || n || '@example.com', 'User ' || n, "  # noqa: S608 - a constant
            f"'Europe/London' FROM generate_series(1, {PEOPLE}) n"
        )
        await connection.execute(f"ANALYZE {TABLE}")
    finally:
        await connection.close()


async def tokens(around: Surroundings) -> Tokens:
    access = await demo.mint_token(around.config, demo.email_of(1), legacy=False)
    return Tokens(access, await older_tokens(around))
