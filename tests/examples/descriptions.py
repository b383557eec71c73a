"""Whether a firedrill.toml names what its application has."""

import fnmatch
import json
import re
import subprocess
from typing import Any

import asyncpg

from tests.examples.running import Example

_ROUTE = re.compile(r"(GET|POST|PUT|PATCH|DELETE) (/\S*)")


async def unknown_names(example: Example) -> list[str]:
    """Routes, patterns of routes and tables that the application does not have."""
    description = example.description
    paths = _document(example)["paths"]
    routes = [
        description["client"]["sign_in"],
        description["load"]["unrelated"],
        *description["probe"]["routes"],
        *description["load"]["mix"],
        *(route for drill in description["drill"] for route in drill["load"]),
    ]
    unknown = [route for route in routes if not _has(paths, route)]
    patterns = [
        pattern for slo in description["slo"]["class"].values() for pattern in slo["routes"]
    ]
    unknown += [pattern for pattern in patterns if not fnmatch.filter(paths, pattern)]
    scope = description["scope"]["pattern"]
    unknown += [path for path in paths if not re.match(scope, path)]
    tables = await _tables(example)
    return unknown + [
        drill["break"]["lock"]
        for drill in description["drill"]
        if drill["break"]["lock"] not in tables
    ]


def _has(paths: dict[str, Any], route: str) -> bool:
    parts = _ROUTE.fullmatch(route)
    return parts is not None and parts[1].lower() in paths.get(parts[2], {})


def _document(example: Example) -> dict[str, Any]:
    """The OpenAPI document of the application that [process] starts."""
    start = example.description["process"]["start"]
    module, _, name = start.split()[1].partition(":")
    program = f"import json; from {module} import {name} as app; print(json.dumps(app.openapi()))"
    said = subprocess.run(
        ["python", "-c", program],
        cwd=example.folder,
        env=example.environment,
        capture_output=True,
        text=True,
        check=True,
    )
    found: dict[str, Any] = json.loads(said.stdout)
    return found


async def _tables(example: Example) -> set[str]:
    connection = await asyncpg.connect(example.postgres.dsn("owner"))
    try:
        rows = await connection.fetch("SELECT tablename FROM pg_tables")
    finally:
        await connection.close()
    return {row["tablename"] for row in rows}
