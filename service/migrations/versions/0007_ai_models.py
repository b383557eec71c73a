"""Settings get the AI-model configuration, an optional group of the service."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0007"
down_revision = "0006"
phase = "expand"


def upgrade() -> None:
    op.add_column("settings", sa.Column("ai_models", JSONB), if_not_exists=True)
    with op.get_context().autocommit_block():
        # Waits for older transactions and blocks nobody while it does.
        op.execute("SET lock_timeout = 0")
        # An interrupted concurrent build leaves an index that is not valid.
        op.drop_index("settings_ai_models_idx", if_exists=True, postgresql_concurrently=True)
        op.create_index(
            "settings_ai_models_idx",
            "settings",
            ["ai_models"],
            postgresql_using="gin",
            postgresql_concurrently=True,
        )
        op.execute("RESET lock_timeout")
