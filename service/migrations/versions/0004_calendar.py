"""OAuth grants and calendar events."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import BYTEA, ENUM

revision = "0004"
down_revision = "0003"
phase = "expand"


def upgrade() -> None:
    op.execute("CREATE TYPE grant_status AS ENUM ('ok', 'reauth_required')")
    op.create_table(
        "oauth_grants",
        sa.Column("id", sa.BigInteger, sa.Identity(), primary_key=True),
        sa.Column(
            "account_id",
            sa.BigInteger,
            sa.ForeignKey("accounts.id", ondelete="CASCADE"),
            nullable=False,
        ),
        sa.Column("provider", sa.Text, nullable=False),
        sa.Column("scope", sa.Text, nullable=False),
        sa.Column("access_token_enc", BYTEA, nullable=False),
        sa.Column("refresh_token_enc", BYTEA, nullable=False),
        sa.Column("expires_at", sa.DateTime(True), nullable=False),
        sa.Column("token_version", sa.Integer, server_default="1", nullable=False),
        sa.Column(
            "status",
            ENUM(name="grant_status", create_type=False),
            server_default="ok",
            nullable=False,
        ),
        sa.Column("lease_owner", sa.Uuid),
        sa.Column("lease_until", sa.DateTime(True)),
        sa.Column("sync_token", sa.Text),
        sa.Column("synced_at", sa.DateTime(True)),
        sa.UniqueConstraint("account_id", "provider", name="oauth_grants_account_id_provider_key"),
    )
    op.create_table(
        "calendar_events",
        sa.Column("id", sa.BigInteger, sa.Identity(), primary_key=True),
        sa.Column(
            "account_id",
            sa.BigInteger,
            sa.ForeignKey("accounts.id", ondelete="CASCADE"),
            nullable=False,
        ),
        sa.Column("provider_event_id", sa.Text, nullable=False),
        sa.Column("etag", sa.Text, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("summary", sa.Text),
        sa.Column("starts_at", sa.DateTime(True), nullable=False),
        sa.Column("ends_at", sa.DateTime(True), nullable=False),
        sa.Column("all_day", sa.Boolean, server_default="false", nullable=False),
        sa.Column("updated_at", sa.DateTime(True), server_default=sa.func.now(), nullable=False),
        sa.UniqueConstraint(
            "account_id",
            "provider_event_id",
            name="calendar_events_account_id_provider_event_id_key",
        ),
    )
    op.create_index(
        "calendar_events_account_id_starts_at_idx",
        "calendar_events",
        ["account_id", "starts_at", "id"],
    )
