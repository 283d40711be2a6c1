"""An index for the calls of one process, which reconciliation compares with what that process has counted."""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create it."""
    op.create_index("ix_call_records_instance", "call_records", ["instance_id", "received_ms"])


def downgrade() -> None:
    """Drop it."""
    op.drop_index("ix_call_records_instance", "call_records")
