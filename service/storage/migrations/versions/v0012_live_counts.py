"""The counts of processes that are gone, from which the store of a fleet is filled when it is empty."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables; rows come with the processes of a fleet."""
    op.create_table(
        "live_counts",
        sa.Column("fleet", sa.String(100), nullable=False),
        sa.Column("tenant_id", sa.String(200), nullable=False),
        sa.Column("bucket", sa.Integer, nullable=False),
        sa.Column("since_ms", sa.BigInteger, nullable=False),
        sa.Column("numbers", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("fleet", "tenant_id", name="pk_live_counts"),
    )
    op.create_index("ix_live_counts_bucket", "live_counts", ["bucket"])
    op.create_table(
        "live_folds",
        sa.Column("holder", sa.String(100), nullable=False),
        sa.Column("bucket", sa.Integer, nullable=False),
        sa.Column("folded_ms", sa.BigInteger, nullable=False),
        sa.Column("numbers", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("holder", "bucket", name="pk_live_folds"),
    )
    op.create_index("ix_live_folds_folded_ms", "live_folds", ["folded_ms"])
