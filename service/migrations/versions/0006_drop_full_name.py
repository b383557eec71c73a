"""`full_name` goes: the version of 0005 neither reads nor writes it."""

from alembic import op

revision = "0006"
down_revision = "0005"
phase = "contract"


def upgrade() -> None:
    op.alter_column("profiles", "display_name", nullable=False)
    op.drop_column("profiles", "full_name")
