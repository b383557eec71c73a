"""What the service's role may do: read and write rows, never change the schema."""

_ROWS = "SELECT, INSERT, UPDATE, DELETE"


def on_new_tables(role: str) -> list[str]:
    """Return what gives the role its rights on every table that the owner will create."""
    name = _quoted(role)
    return [
        f"ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT {_ROWS} ON TABLES TO {name}",
        f"ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT USAGE ON SEQUENCES TO {name}",
    ]


def on_our_tables(role: str) -> list[str]:
    """Return what gives the role its rights on every table that the owner has created.

    Run after each upgrade: it mends a dump restored without privileges, a renamed role and a REVOKE.
    """
    name = _quoted(role)
    in_literal = name.replace("'", "''")
    return [
        f"GRANT USAGE ON SCHEMA public TO {name}",
        # Not ON ALL TABLES: one table of somebody else, an extension's for instance, refuses it all.
        f"""DO $$
DECLARE our_table name;
BEGIN
    FOR our_table IN SELECT tablename FROM pg_tables
        WHERE schemaname = 'public' AND tableowner = current_user
    LOOP
        EXECUTE 'GRANT {_ROWS} ON public.' || quote_ident(our_table)
            || ' TO {in_literal}';
    END LOOP;
END $$""",  # noqa: S608 - the role is configuration, and quoted
        # The service reads its revision and must not be able to change it.
        f"REVOKE ALL ON alembic_version FROM {name}",
        f"GRANT SELECT ON alembic_version TO {name}",
    ]


def _quoted(role: str) -> str:
    return '"' + role.replace('"', '""') + '"'
