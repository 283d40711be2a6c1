"""Calls of every kind on record: direction, source, the party at fault, and the measures of the conversation.

What is on record came in, and was reported by the process itself. Whose fault an end was, and who talked when, nobody
noted: that stays null. A default in the database fills the two columns without a row being rewritten.
"""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

_TABLE = "call_records"
_TALK = (
    "conversation_ms",
    "caller_talk_ms",
    "agent_talk_ms",
    "talk_over_ms",
    "dead_air_ms",
    "dead_airs",
    "agent_interruptions",
)
_INDEXES = {
    "ix_call_records_reason": (["reason", "received_ms", "call_id"], "ended_ms IS NOT NULL"),
    "ix_call_records_fault": (["fault", "received_ms", "call_id"], "fault IS NOT NULL"),
    "ix_call_records_outbound": (["received_ms", "call_id"], "direction = 'outbound'"),
    "ix_call_records_source": (["source", "received_ms", "call_id"], "source <> 'direct'"),
}


def upgrade() -> None:
    """Add the columns, and an index for each question about them."""
    op.add_column(_TABLE, sa.Column("fault", sa.String(16)))
    op.add_column(_TABLE, sa.Column("direction", sa.String(16), server_default="inbound", nullable=False))
    op.add_column(_TABLE, sa.Column("source", sa.String(64), server_default="direct", nullable=False))
    for name in _TALK:
        op.add_column(_TABLE, sa.Column(name, sa.BigInteger))
    for name, (columns, condition) in _INDEXES.items():
        op.create_index(name, _TABLE, columns, sqlite_where=sa.text(condition), postgresql_where=sa.text(condition))


def downgrade() -> None:
    """Drop them."""
    for name in _INDEXES:
        op.drop_index(name, _TABLE)
    with op.batch_alter_table(_TABLE) as table:
        for name in (*_TALK, "source", "direction", "fault"):
            table.drop_column(name)
