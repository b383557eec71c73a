"""`full_name` may be left out: what still writes it only copies `display_name`."""

from alembic import op

revision = "0005"
down_revision = "0004"
phase = "contract"


def upgrade() -> None:
    # What a version before 0003 wrote while both ran.
    op.execute(
        "UPDATE profiles SET display_name ="
        " coalesce(nullif(left(btrim(full_name), 120), ''), 'Unnamed')"
        " WHERE display_name IS NULL"
    )
    op.alter_column("profiles", "full_name", nullable=True)
