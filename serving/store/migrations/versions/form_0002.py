"""The spend of a plan's prices, by which all workers pace."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """A table more."""
    op.create_table(
        "pacing",
        sa.Column("prices", sa.Text, primary_key=True),
        sa.Column("state", sa.Text, nullable=False),
        comment="How far the prices of a plan have moved, and what was spent by them, as JSON by version.",
    )
