"""`python -m service.migrations` as an operator meets it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from service import schema
from service.config import Config
from service.migrations import commands
from service.migrations.__main__ import main
from stack.postgres import Postgres
from tests.integration.schema_databases import connected, empty_database

Run = Callable[..., Awaitable[tuple[int, str, str]]]


@pytest.fixture
async def config(postgres: Postgres) -> AsyncIterator[Config]:
    async with empty_database(postgres) as empty:
        yield empty


@pytest.fixture
def run(
    config: Config, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Run:
    """Run the command on the database; return exit code, standard output and error."""
    monkeypatch.setenv("DATABASE_PORT", str(config.database_port))
    monkeypatch.setenv("DATABASE_NAME", config.database_name)
    monkeypatch.setenv("DATABASE_PASSWORD", config.database_password.get_secret_value())
    monkeypatch.setenv("MIGRATION_PASSWORD", config.migration_password.get_secret_value())

    def to_its_end(arguments: tuple[str, ...]) -> int:
        try:
            return main(list(arguments))
        except SystemExit as stopped:
            return int(stopped.code or 0)

    async def command(*arguments: str) -> tuple[int, str, str]:
        code = await asyncio.to_thread(to_its_end, arguments)
        said, complained = capsys.readouterr()
        return code, said, complained

    return command


async def test_upgrade_says_each_step_and_where_it_ended(run: Run) -> None:
    assert await run("current") == (0, f"none (newest: {commands.head()})\n", "")

    code, said, complained = await run("upgrade", "0002")

    assert (code, complained) == (0, "")
    assert said.splitlines() == [
        "applied 0001: Accounts, sessions, profiles.",
        "applied 0002: Roles of accounts; settings.",
        "the database is at 0002",
    ]


async def test_check_lists_what_differs(postgres: Postgres, config: Config, run: Run) -> None:
    await run("upgrade")
    assert await run("check") == (0, "the database is as this version needs it\n", "")

    async with connected(postgres, config, "owner") as owner:
        await owner.execute("ALTER TABLE settings DROP ai_models, DROP notifications")
    code, said, _ = await run("check")

    assert code == 1
    assert [line.split()[:3] for line in said.splitlines()] == [
        ["optional", "column", "settings.ai_models"],
        ["required", "column", "settings.notifications"],
        ["optional", "index", "settings.settings_ai_models_idx"],
    ]


async def test_record_writes_what_the_database_has(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    recorded = tmp_path / "expected.json"
    before = schema.catalogue.EXPECTED.read_text()
    await run("upgrade")
    monkeypatch.setattr(schema.catalogue, "EXPECTED", recorded)

    assert (await run("record"))[0] == 0

    assert recorded.read_text() == before


@pytest.mark.parametrize(
    ("variable", "value", "complaint"),
    [
        ("DATABASE_PORT", "1", "nothing answers"),
        ("DATABASE_NAME", "absent", 'database "absent" does not exist'),
        ("MIGRATION_PASSWORD", "wrong", "check the role and its password"),
        ("DATABASE_USER", "absent", 'role "absent" does not exist'),
    ],
)
async def test_what_is_wrong_with_the_database_is_one_line(
    run: Run, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, complaint: str
) -> None:
    monkeypatch.setenv(variable, value)

    code, said, complained = await run("upgrade")

    assert (code, said) == (1, "")
    assert complaint in complained
    assert complained.count("\n") == 1


@pytest.mark.parametrize(
    "arguments", [("upgrade", "0099"), ("upgrade", "base"), ("downgrade",), ()]
)
async def test_what_cannot_be_asked_for_is_exit_code_2(
    run: Run, arguments: tuple[str, ...]
) -> None:
    code, said, complained = await run(*arguments)

    assert (code, said) == (2, "")
    assert complained
