"""An index for the calls of one process, which reconciliation compares with what that process has counted."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_CLOSED = sa.text("ended_ms IS NOT NULL")


def upgrade() -> None:
    """Create it."""
    op.create_index(
        "ix_call_records_instance",
        "call_records",
        ["instance_id", "received_ms"],
        sqlite_where=_CLOSED,
        postgresql_where=_CLOSED,
    )


def downgrade() -> None:
    """Drop it."""
    op.drop_index("ix_call_records_instance", "call_records")
