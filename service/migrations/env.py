"""Run by alembic for `upgrade`: on the connection that `commands` opened, or as SQL text."""

from alembic import context

from service.migrations.privileges import on_our_tables

_attributes = context.config.attributes
_connection = _attributes.get("connection")

context.configure(
    connection=_connection,
    dialect_name=None if _connection else "postgresql",
    literal_binds=_connection is None,
    # A revision that fails leaves those before it applied; autocommit_block needs it too.
    transaction_per_migration=True,
    on_version_apply=_attributes.get("on_version_apply"),
)
context.run_migrations()

for _statement in on_our_tables(_attributes["app_role"]):
    context.execute(_statement)
if _connection is not None:
    _connection.commit()
