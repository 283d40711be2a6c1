"""One row a call id, which says whose the call is, and what a record keeps of the conversation."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_CALL_ID = sa.String(255).with_variant(sa.String(255, collation="C"), "postgresql")
_CONVERSATION = ("turns", "interruptions", "longest_wait_ms")


def upgrade() -> None:
    """Create the table, with a key for each call on record."""
    op.create_table(
        "call_keys",
        sa.Column("call_id", _CALL_ID, nullable=False),
        sa.Column("received_ms", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("call_id", name="pk_call_keys"),
    )
    op.execute("INSERT INTO call_keys (call_id, received_ms) SELECT call_id, received_ms FROM call_records")
    for name in _CONVERSATION:
        op.add_column("call_records", sa.Column(name, sa.BigInteger))


def downgrade() -> None:
    """Drop the table and the columns."""
    with op.batch_alter_table("call_records") as table:
        for name in _CONVERSATION:
            table.drop_column(name)
    op.drop_table("call_keys")
