"""Grants remember the refresh in flight and why the last one failed."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
phase = "expand"


def upgrade() -> None:
    op.add_column("oauth_grants", sa.Column("attempt_id", sa.Uuid))
    op.add_column("oauth_grants", sa.Column("attempt_sent_at", sa.DateTime(True)))
    op.add_column("oauth_grants", sa.Column("last_error", sa.Text))
    op.execute("ALTER TYPE grant_status ADD VALUE 'misconfigured'")
