"""Every way a database can stop being what the code needs, done to a real one."""

from collections.abc import AsyncIterator

import pytest
from sqlalchemy import text

from service import schema
from service.accounts import Account
from service.config import Config
from service.domains.calendar.models import Event
from service.domains.profile.models import Profile
from service.domains.settings.models import Settings
from service.migrations import commands
from stack.postgres import Postgres
from tests.integration.schema_databases import (
    connected,
    database_at,
    empty_database,
    transaction,
)

# (what is done; the drift it must be reported as, `!` where the service must not be ready)
MUTATIONS: dict[str, tuple[str, set[str]]] = {
    "table dropped": ("DROP TABLE profiles", {"!table profiles"}),
    "table renamed": (
        "ALTER TABLE sessions RENAME TO logins",
        {"!table sessions", "extra logins"},
    ),
    "table not logged": ("ALTER TABLE sessions SET UNLOGGED", {"table sessions"}),
    "column dropped": (
        "ALTER TABLE settings DROP notifications",
        {"!column settings.notifications"},
    ),
    "column renamed": (
        "ALTER TABLE profiles RENAME bio TO about",
        {"!column profiles.bio", "extra profiles.about"},
    ),
    "optional column dropped": (
        "ALTER TABLE settings DROP ai_models",
        {"column settings.ai_models", "index settings.settings_ai_models_idx"},
    ),
    "default dropped": (
        "ALTER TABLE settings ALTER version DROP DEFAULT",
        {"column settings.version"},
    ),
    "default changed": (
        "ALTER TABLE settings ALTER theme SET DEFAULT 'dark'",
        {"column settings.theme"},
    ),
    "identity dropped": ("ALTER TABLE accounts ALTER id DROP IDENTITY", {"column accounts.id"}),
    "type widened": (
        "ALTER TABLE settings ALTER version TYPE bigint",
        {"type settings.version"},
    ),
    "type got a length": (
        "ALTER TABLE profiles ALTER bio TYPE varchar(40)",
        {"type profiles.bio"},
    ),
    "type became another": (
        "ALTER TABLE profiles ALTER updated_at DROP DEFAULT, ALTER updated_at TYPE text",
        {"!type profiles.updated_at", "column profiles.updated_at"},
    ),
    "time zone lost": (
        "ALTER TABLE calendar_events ALTER ends_at TYPE timestamp",
        {"!type calendar_events.ends_at"},
    ),
    "collation changed": (
        'ALTER TABLE profiles ALTER locale TYPE text COLLATE "C"',
        {"type profiles.locale"},
    ),
    "jsonb became json": (
        "DROP INDEX settings_ai_models_idx; ALTER TABLE settings ALTER ai_models TYPE json",
        {"type settings.ai_models", "index settings.settings_ai_models_idx"},
    ),
    "not null dropped": (
        "ALTER TABLE profiles ALTER display_name DROP NOT NULL",
        {"nullability profiles.display_name"},
    ),
    "not null set": ("ALTER TABLE profiles ALTER bio SET NOT NULL", {"nullability profiles.bio"}),
    "not null not validated": (
        (
            "ALTER TABLE profiles ALTER locale DROP NOT NULL;"
            "ALTER TABLE profiles ADD CONSTRAINT locale_not_null NOT NULL locale NOT VALID"
        ),
        {"nullability profiles.locale"},
    ),
    "enum label renamed": (
        "ALTER TYPE settings_theme RENAME VALUE 'dark' TO 'night'",
        {"!enum settings_theme.dark", "extra settings_theme.night"},
    ),
    "enum label added": (
        "ALTER TYPE settings_theme ADD VALUE 'sepia' BEFORE 'dark'",
        {"extra settings_theme.sepia"},
    ),
    "enum became text": (
        "ALTER TABLE oauth_grants ALTER status DROP DEFAULT, ALTER status TYPE text",
        {"!type oauth_grants.status", "column oauth_grants.status"},
    ),
    "check dropped": (
        "ALTER TABLE profiles DROP CONSTRAINT profiles_display_name_check",
        {"check profiles.profiles_display_name_check"},
    ),
    "check loosened": (
        (
            "ALTER TABLE profiles DROP CONSTRAINT profiles_display_name_check,"
            " ADD CONSTRAINT profiles_display_name_check"
            " CHECK (char_length(display_name) BETWEEN 1 AND 1200)"
        ),
        {"check profiles.profiles_display_name_check"},
    ),
    "check not validated": (
        (
            "ALTER TABLE profiles DROP CONSTRAINT profiles_display_name_check,"
            " ADD CONSTRAINT profiles_display_name_check"
            " CHECK (char_length(display_name) BETWEEN 1 AND 120) NOT VALID"
        ),
        {"check profiles.profiles_display_name_check"},
    ),
    "check added": (
        "ALTER TABLE profiles ADD CONSTRAINT no_bio CHECK (bio IS NULL)",
        {"extra profiles.no_bio"},
    ),
    "foreign key dropped": (
        "ALTER TABLE profiles DROP CONSTRAINT profiles_account_id_fkey",
        {"foreign_key profiles.profiles_account_id_fkey"},
    ),
    "foreign key without cascade": (
        (
            "ALTER TABLE profiles DROP CONSTRAINT profiles_account_id_fkey,"
            " ADD CONSTRAINT profiles_account_id_fkey FOREIGN KEY (account_id) REFERENCES accounts"
        ),
        {"foreign_key profiles.profiles_account_id_fkey"},
    ),
    "foreign key not validated": (
        (
            "ALTER TABLE profiles DROP CONSTRAINT profiles_account_id_fkey,"
            " ADD CONSTRAINT profiles_account_id_fkey FOREIGN KEY (account_id)"
            " REFERENCES accounts ON DELETE CASCADE NOT VALID"
        ),
        {"foreign_key profiles.profiles_account_id_fkey"},
    ),
    "foreign key not enforced": (
        "ALTER TABLE profiles ALTER CONSTRAINT profiles_account_id_fkey NOT ENFORCED",
        {"foreign_key profiles.profiles_account_id_fkey"},
    ),
    "foreign key triggers disabled": (
        "ALTER TABLE profiles DISABLE TRIGGER ALL",
        {"foreign_key profiles.profiles_account_id_fkey"},
    ),
    "primary key dropped": (
        "ALTER TABLE settings DROP CONSTRAINT settings_pkey",
        {"index settings.settings_pkey"},
    ),
    "unique constraint dropped": (
        "ALTER TABLE oauth_grants DROP CONSTRAINT oauth_grants_account_id_provider_key",
        {"index oauth_grants.oauth_grants_account_id_provider_key"},
    ),
    "unique constraint deferrable": (
        (
            "ALTER TABLE oauth_grants DROP CONSTRAINT oauth_grants_account_id_provider_key,"
            " ADD CONSTRAINT oauth_grants_account_id_provider_key"
            " UNIQUE (account_id, provider) DEFERRABLE"
        ),
        {"index oauth_grants.oauth_grants_account_id_provider_key"},
    ),
    "unique index lost its uniqueness": (
        "DROP INDEX accounts_email_key; CREATE INDEX accounts_email_key ON accounts (lower(email))",
        {"index accounts.accounts_email_key"},
    ),
    "unique index lost its expression": (
        "DROP INDEX accounts_email_key; CREATE UNIQUE INDEX accounts_email_key ON accounts (email)",
        {"index accounts.accounts_email_key"},
    ),
    "index dropped": (
        "DROP INDEX settings_ai_models_idx",
        {"index settings.settings_ai_models_idx"},
    ),
    "index invalid": (
        (
            "UPDATE pg_index SET indisvalid = false"
            " WHERE indexrelid = 'ix_sessions_expires_at'::regclass"
        ),
        {"index sessions.ix_sessions_expires_at"},
    ),
    "index renamed": (
        "ALTER INDEX ix_sessions_expires_at RENAME TO sessions_expiry",
        {"index sessions.ix_sessions_expires_at", "extra sessions.sessions_expiry"},
    ),
    "read revoked": (
        "REVOKE SELECT ON settings FROM firedrill_app",
        {"!privilege settings.SELECT"},
    ),
    "write revoked": (
        "REVOKE INSERT, UPDATE ON profiles FROM firedrill_app",
        {"!privilege profiles.INSERT", "!privilege profiles.UPDATE"},
    ),
    "row security switched on": (
        "ALTER TABLE settings ENABLE ROW LEVEL SECURITY",
        {"!privilege settings.all_rows"},
    ),
    "revision behind": (
        "UPDATE alembic_version SET version_num = '0005'",
        {"revision alembic_version"},
    ),
    "revision unknown": ("DROP TABLE alembic_version", {"revision alembic_version"}),
    "revision unreadable": (
        "REVOKE ALL ON alembic_version FROM firedrill_app",
        {"revision alembic_version"},
    ),
    "table added": ("CREATE TABLE notes (id int PRIMARY KEY)", {"extra notes"}),
    "column added": ("ALTER TABLE profiles ADD pronouns text", {"extra profiles.pronouns"}),
    "column added that our inserts do not fill": (
        "ALTER TABLE profiles ADD pronouns text NOT NULL",
        {"extra profiles.pronouns", "nullability profiles.pronouns"},
    ),
    "trigger added": (
        (
            "CREATE TRIGGER watch_settings BEFORE UPDATE ON settings"
            " FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()"
        ),
        {"extra settings.watch_settings"},
    ),
}


@pytest.fixture(scope="module")
async def migrated_database(postgres: Postgres) -> AsyncIterator[Config]:
    async with database_at(postgres, "head") as config:
        yield config


def spelled(drifts: list[schema.Drift]) -> set[str]:
    return {f"{'!' if drift.required else ''}{drift.kind} {drift.object}" for drift in drifts}


@pytest.mark.parametrize("name", MUTATIONS)
async def test_a_mutation_is_found_and_named(
    postgres: Postgres, migrated_database: Config, name: str
) -> None:
    mutation, expected_drift = MUTATIONS[name]
    async with transaction(postgres, migrated_database, "superuser") as connection:
        await connection.execute(text("SET LOCAL ROLE firedrill_app"))
        before = await schema.fingerprint(connection)
        await connection.execute(text("RESET ROLE"))
        for statement in mutation.split(";"):
            await connection.execute(text(statement))
        await connection.execute(text("SET LOCAL ROLE firedrill_app"))

        after = await schema.fingerprint(connection)
        drifts = schema.compare(schema.expected(), await schema.actual(connection))

    assert before != after
    assert spelled(drifts) == expected_drift


async def test_losing_the_whole_schema_is_a_lost_privilege(
    postgres: Postgres, migrated_database: Config
) -> None:
    async with transaction(postgres, migrated_database, "superuser") as connection:
        await connection.execute(text("REVOKE USAGE ON SCHEMA public FROM PUBLIC, firedrill_app"))
        await connection.execute(text("SET LOCAL ROLE firedrill_app"))

        drifts = schema.compare(schema.expected(), await schema.actual(connection))

    assert "!privilege public.USAGE" in spelled(drifts)


async def test_ordinary_work_and_upkeep_leave_the_fingerprint(
    postgres: Postgres, migrated_database: Config
) -> None:
    async with (
        connected(postgres, migrated_database, "superuser") as admin,
        transaction(postgres, migrated_database, "app") as connection,
    ):
        before = await schema.fingerprint(connection)
        await connection.rollback()

        await admin.execute(
            "INSERT INTO accounts (email, password_hash)"
            " SELECT n || '@example.com', '' FROM generate_series(1, 500) AS n"
        )
        await admin.execute("DELETE FROM accounts")
        await admin.execute("VACUUM ANALYZE")

        assert await schema.fingerprint(connection) == before


async def test_a_locked_table_does_not_hold_up_the_fingerprint(
    postgres: Postgres, migrated_database: Config
) -> None:
    async with (
        connected(postgres, migrated_database, "owner") as owner,
        transaction(postgres, migrated_database, "app") as connection,
        owner.transaction(),
    ):
        await owner.execute("LOCK TABLE settings, accounts IN ACCESS EXCLUSIVE MODE")
        await connection.execute(text("SET LOCAL lock_timeout = '100ms'"))

        assert await schema.fingerprint(connection)


async def test_the_migrated_database_is_what_the_code_says_it_needs(
    migrated_database: Config,
) -> None:
    """If this fails after a new revision: `python -m service.migrations record`."""
    assert await commands.catalogue(migrated_database) == schema.expected()
    assert schema.expected()["revision"] == {"alembic_version": commands.head()}


async def test_the_models_are_what_the_code_says_it_needs(postgres: Postgres) -> None:
    tables = Account.metadata
    assert {model.__tablename__ for model in (Event, Profile, Settings)} <= tables.tables.keys()
    needed = schema.expected()
    async with (
        empty_database(postgres) as config,
        transaction(postgres, config, "owner") as connection,
    ):
        await connection.run_sync(tables.create_all)

        made = await schema.actual(connection)

    assert made == {kind: objects for kind, objects in needed.items() if kind != "revision"}
