"""Roles of accounts; settings."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ENUM

revision = "0002"
down_revision = "0001"
phase = "expand"


def upgrade() -> None:
    op.execute("CREATE TYPE account_role AS ENUM ('user', 'admin')")
    op.add_column(
        "accounts",
        sa.Column(
            "role",
            ENUM(name="account_role", create_type=False),
            # The version before does not name the column when it inserts.
            server_default="user",
            nullable=False,
        ),
    )
    op.execute("CREATE TYPE settings_theme AS ENUM ('system', 'light', 'dark')")
    op.create_table(
        "settings",
        sa.Column(
            "account_id",
            sa.BigInteger,
            sa.ForeignKey("accounts.id", ondelete="CASCADE"),
            primary_key=True,
        ),
        sa.Column(
            "theme",
            ENUM(name="settings_theme", create_type=False),
            server_default="system",
            nullable=False,
        ),
        sa.Column("notifications", sa.Boolean, server_default="true", nullable=False),
        sa.Column("version", sa.Integer, server_default="1", nullable=False),
        sa.Column("updated_at", sa.DateTime(True), server_default=sa.func.now(), nullable=False),
    )
