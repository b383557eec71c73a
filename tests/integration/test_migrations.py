"""The history of the schema, run on a real database from each of its points."""

import itertools
from pathlib import Path

import asyncpg
import pytest
from alembic.script import ScriptDirectory

from service import migrations, schema
from service.migrations import commands
from stack.postgres import Postgres
from tests.integration.schema_databases import connected, database_at, empty_database, upgrade

_SCRIPTS = ScriptDirectory(str(Path(migrations.__file__).parent))
PHASES = {script.revision: script.module.phase for script in _SCRIPTS.walk_revisions()}
HISTORY = sorted(PHASES)
STEPS = list(itertools.pairwise(HISTORY))

_ID = "(SELECT id FROM accounts)"
_ACCOUNT = (
    "INSERT INTO accounts (email, password_hash) VALUES ('Ada@example.com', 'x')",
    f"INSERT INTO sessions (id, account_id, expires_at) VALUES ('\\x00', {_ID}, now())",
)
_FULL_NAME = f"INSERT INTO profiles (account_id, full_name) VALUES ({_ID}, '  Ada Lovelace ')"
_DISPLAY_NAME = f"INSERT INTO profiles (account_id, display_name) VALUES ({_ID}, 'Ada Lovelace')"
_BOTH_NAMES = (
    "INSERT INTO profiles (account_id, full_name, display_name)"
    f" VALUES ({_ID}, 'Ada Lovelace', 'Ada Lovelace')"
)
_SETTINGS = (
    "UPDATE accounts SET role = 'admin'",
    f"INSERT INTO settings (account_id, theme) VALUES ({_ID}, 'dark')",
)
_CALENDAR = (
    (
        "INSERT INTO oauth_grants (account_id, provider, scope, access_token_enc, refresh_token_enc,"
        f" expires_at, status) VALUES ({_ID}, 'google', 's', '', '', now(), 'reauth_required')"
    ),
    (
        "INSERT INTO calendar_events (account_id, provider_event_id, etag, status, starts_at, ends_at)"
        f" VALUES ({_ID}, 'e', '1', 'confirmed', now(), now())"
    ),
)
_MODELS = """UPDATE settings SET ai_models = '[{"name": "m"}]'"""
_ATTEMPT = "UPDATE oauth_grants SET attempt_id = gen_random_uuid(), status = 'misconfigured'"
_PROGRESS = (
    "UPDATE oauth_grants SET page_token = 'p', listed_at = now(), listed_pages = 1",
    "UPDATE calendar_events SET seen_at = now()",
)

# What the version of the service that came with a revision writes.
WRITES: dict[str, tuple[str, ...]] = {
    "0001": (*_ACCOUNT, _FULL_NAME),
    "0002": (*_ACCOUNT, _FULL_NAME, *_SETTINGS),
    "0003": (*_ACCOUNT, _BOTH_NAMES, *_SETTINGS),
    "0004": (*_ACCOUNT, _BOTH_NAMES, *_SETTINGS, *_CALENDAR),
    "0005": (*_ACCOUNT, _DISPLAY_NAME, *_SETTINGS, *_CALENDAR),
    "0006": (*_ACCOUNT, _DISPLAY_NAME, *_SETTINGS, *_CALENDAR),
    "0007": (*_ACCOUNT, _DISPLAY_NAME, *_SETTINGS, *_CALENDAR, _MODELS),
    "0008": (*_ACCOUNT, _DISPLAY_NAME, *_SETTINGS, *_CALENDAR, _MODELS, _ATTEMPT),
    "0009": (*_ACCOUNT, _DISPLAY_NAME, *_SETTINGS, *_CALENDAR, _MODELS, _ATTEMPT, *_PROGRESS),
}


def test_every_revision_says_what_its_version_writes() -> None:
    assert WRITES.keys() == PHASES.keys()
    assert set(PHASES.values()) <= {"expand", "contract"}


@pytest.mark.parametrize("revision", HISTORY)
async def test_from_each_head_the_newest_is_reached_without_drift_or_loss(
    postgres: Postgres, revision: str
) -> None:
    async with (
        database_at(postgres, revision) as config,
        connected(postgres, config, "app") as service,
    ):
        for statement in WRITES[revision]:
            await service.execute(statement)

        await upgrade(config)

        assert await commands.drifts(config) == []
        profile = "SELECT email, display_name FROM accounts JOIN profiles ON account_id = id"
        assert await service.fetch(profile) == [("Ada@example.com", "Ada Lovelace")]


async def test_the_version_before_works_on_the_schema_after(postgres: Postgres) -> None:
    async with (
        empty_database(postgres) as config,
        connected(postgres, config, "app") as service,
    ):
        for before, after in STEPS:
            await upgrade(config, after)
            one_version = service.transaction()
            await one_version.start()
            for statement in WRITES[before]:
                await service.execute(statement)
            await one_version.rollback()


async def test_expanding_takes_nothing_away(postgres: Postgres) -> None:
    """All that the version before may need is as it was; only contracting takes away."""
    taken: dict[str, list[schema.Drift]] = {}
    async with database_at(postgres, HISTORY[0]) as config:
        for _, after in STEPS:
            needed = await commands.catalogue(config)
            await upgrade(config, after)
            taken[after] = [
                drift
                for drift in schema.compare(needed, await commands.catalogue(config))
                if drift.kind not in {"extra", "revision"}
            ]

    assert {after for after, drifts in taken.items() if drifts} == {
        after for _, after in STEPS if PHASES[after] == "contract"
    }, taken


async def test_a_second_upgrade_changes_nothing(postgres: Postgres) -> None:
    async with database_at(postgres, "head") as config:
        before = await commands.catalogue(config)

        assert await upgrade(config) == []

        assert await commands.catalogue(config) == before


async def test_of_two_upgrades_at_once_one_is_refused(postgres: Postgres) -> None:
    async with (
        empty_database(postgres) as config,
        connected(postgres, config, "owner") as other,
    ):
        await other.execute(f"SELECT pg_advisory_lock({commands._LOCK})")

        with pytest.raises(commands.Refused, match="another upgrade is running"):
            await upgrade(config)

        await other.execute(f"SELECT pg_advisory_unlock({commands._LOCK})")
        assert await upgrade(config)


async def test_an_upgrade_does_not_queue_behind_traffic(postgres: Postgres) -> None:
    """It gives up its lock in time, keeps what it did before, and goes on when run again."""
    async with (
        database_at(postgres, "0002") as config,
        connected(postgres, config, "app") as service,
    ):
        async with service.transaction():
            await service.execute("SELECT FROM profiles")

            with pytest.raises(commands.Refused, match="LOCK_TIMEOUT_SECONDS"):
                await upgrade(config)

        assert await commands.current(config) == "0002"
        await upgrade(config)
        assert await commands.drifts(config) == []


async def test_an_interrupted_index_build_is_built_again(postgres: Postgres) -> None:
    async with database_at(postgres, "0006") as config:
        async with connected(postgres, config, "superuser") as admin:
            await admin.execute("SET ROLE firedrill_owner")
            await admin.execute("ALTER TABLE settings ADD ai_models jsonb")
            await admin.execute(
                "CREATE INDEX settings_ai_models_idx ON settings USING gin (ai_models)"
            )
            await admin.execute("RESET ROLE")
            await admin.execute(
                "UPDATE pg_index SET indisvalid = false"
                " WHERE indexrelid = 'settings_ai_models_idx'::regclass"
            )

        await upgrade(config)

        assert await commands.drifts(config) == []


async def test_an_older_version_refuses_a_newer_database(postgres: Postgres) -> None:
    async with database_at(postgres, "head") as config:
        async with connected(postgres, config, "owner") as owner:
            await owner.execute("UPDATE alembic_version SET version_num = '9999'")

        with pytest.raises(commands.Refused, match=r"the database is at 9999.*newer"):
            await upgrade(config)


async def test_the_service_may_change_rows_and_nothing_else(postgres: Postgres) -> None:
    async with (
        database_at(postgres, "head") as config,
        connected(postgres, config, "app") as service,
    ):
        for statement in WRITES[HISTORY[-1]]:
            await service.execute(statement)
        for refused in (
            "CREATE TABLE notes (id int)",
            "ALTER TABLE settings DROP COLUMN ai_models",
            "TRUNCATE sessions",
            "UPDATE alembic_version SET version_num = '0001'",
            "DELETE FROM alembic_version",
        ):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await service.execute(refused)


async def test_an_upgrade_gives_back_lost_privileges(postgres: Postgres) -> None:
    async with database_at(postgres, "head") as config:
        async with connected(postgres, config, "superuser") as admin:
            await admin.execute("REVOKE ALL ON ALL TABLES IN SCHEMA public FROM firedrill_app")
            # Somebody else's table must not be in the way.
            await admin.execute("CREATE TABLE notes (id int)")
        assert {drift.kind for drift in await commands.drifts(config)} >= {"privilege"}

        await upgrade(config)

        assert [drift.object for drift in await commands.drifts(config)] == ["notes"]


async def test_the_sql_for_review_makes_the_same_schema(postgres: Postgres) -> None:
    async with empty_database(postgres) as config:
        script = commands.upgrade_sql(config)

        async with connected(postgres, config, "owner") as owner:
            for statement in filter(str.strip, script.split(";\n\n")):
                await owner.execute(statement)

        assert await commands.drifts(config) == []
