"""A sync that is cut short goes on where it stopped."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
phase = "expand"


def upgrade() -> None:
    op.add_column("oauth_grants", sa.Column("page_token", sa.Text))
    op.add_column("oauth_grants", sa.Column("listed_at", sa.DateTime(True)))
    op.add_column(
        "oauth_grants",
        sa.Column("listed_pages", sa.Integer, server_default="0", nullable=False),
    )
    op.add_column(
        "calendar_events",
        sa.Column("seen_at", sa.DateTime(True), server_default=sa.func.now(), nullable=False),
    )
