"""An index for finding calls by how they turned out, so that the rare ones are found among millions."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_CLOSED = sa.text("ended_ms IS NOT NULL")


def upgrade() -> None:
    """Create it."""
    op.create_index(
        "ix_call_records_outcome",
        "call_records",
        ["outcome", "received_ms", "call_id"],
        sqlite_where=_CLOSED,
        postgresql_where=_CLOSED,
    )


def downgrade() -> None:
    """Drop it."""
    op.drop_index("ix_call_records_outcome", "call_records")
