"""The id of a database, by which the processes of a fleet see that they use the same one."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table; the row comes with the first process of a fleet."""
    op.create_table(
        "installation",
        sa.Column("number", sa.Integer, autoincrement=False, nullable=False),
        sa.Column("installation_id", sa.String(36), nullable=False),
        sa.PrimaryKeyConstraint("number", name="pk_installation"),
    )
