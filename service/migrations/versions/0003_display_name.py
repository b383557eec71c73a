"""Profiles get `display_name`; this version writes it and `full_name`, and reads either."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
phase = "expand"


def upgrade() -> None:
    op.add_column("profiles", sa.Column("display_name", sa.Text))
    op.create_check_constraint(
        "profiles_display_name_check", "profiles", "char_length(display_name) BETWEEN 1 AND 120"
    )
    op.execute("UPDATE profiles SET display_name = nullif(left(btrim(full_name), 120), '')")
