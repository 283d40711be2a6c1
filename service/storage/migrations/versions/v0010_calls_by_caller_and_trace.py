"""Indexes by which calls on record are found: the caller's last digits, the hash of the number, and the trace."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

_INDEXES = {
    "ix_call_records_caller": ("caller_masked", "received_ms", "call_id"),
    "ix_call_records_caller_hash": ("caller_hash", "received_ms", "call_id"),
    "ix_call_records_trace": ("trace_id",),
}


def upgrade() -> None:
    """Create the indexes, over calls that have what is looked for."""
    for name, columns in _INDEXES.items():
        known = sa.text(f"{columns[0]} IS NOT NULL")
        op.create_index(name, "call_records", list(columns), sqlite_where=known, postgresql_where=known)


def downgrade() -> None:
    """Drop them."""
    for name in _INDEXES:
        op.drop_index(name, "call_records")
