"""Call records, and the processes that hold calls."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_TENANT_ID = sa.String(63).with_variant(sa.String(63, collation="C"), "postgresql")
_CALL_ID = sa.String(255).with_variant(sa.String(255, collation="C"), "postgresql")
_OPEN = sa.text("ended_ms IS NULL")
_CLOSED = sa.text("ended_ms IS NOT NULL")


def upgrade() -> None:
    """Create both tables."""
    op.create_table("call_records", *_call_columns(), sa.PrimaryKeyConstraint("call_id", name="pk_call_records"))
    _call_indexes()
    _instances()


def downgrade() -> None:
    """Drop both, with all that is in them."""
    op.drop_table("instances")
    op.drop_table("call_records")


def _call_columns() -> list[sa.Column[object]]:
    return [
        sa.Column("call_id", _CALL_ID, nullable=False),
        sa.Column("tenant_id", _TENANT_ID, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("outcome", sa.String(16)),
        sa.Column("reason", sa.String(32)),
        sa.Column("error_type", sa.String(128)),
        sa.Column("received_ms", sa.BigInteger, nullable=False),
        sa.Column("decided_ms", sa.BigInteger),
        sa.Column("started_ms", sa.BigInteger),
        sa.Column("first_audio_ms", sa.BigInteger),
        sa.Column("referred_ms", sa.BigInteger),
        sa.Column("ended_ms", sa.BigInteger),
        sa.Column("last_seen_ms", sa.BigInteger, nullable=False),
        sa.Column("usage_from_ms", sa.BigInteger, nullable=False),
        sa.Column("billed_ms", sa.BigInteger, nullable=False),
        sa.Column("duration_ms", sa.BigInteger),
        sa.Column("duration_basis", sa.String(16), nullable=False),
        sa.Column("duration_source", sa.String(24)),
        sa.Column("caller_masked", sa.String(16)),
        sa.Column("caller_hash", sa.String(32)),
        sa.Column("dialled_masked", sa.String(16)),
        sa.Column("dialled_hash", sa.String(32)),
        sa.Column("input_tokens", sa.BigInteger),
        sa.Column("output_tokens", sa.BigInteger),
        sa.Column("cached_input_tokens", sa.BigInteger),
        sa.Column("input_text_tokens", sa.BigInteger),
        sa.Column("input_audio_tokens", sa.BigInteger),
        sa.Column("output_text_tokens", sa.BigInteger),
        sa.Column("output_audio_tokens", sa.BigInteger),
        sa.Column("trace_id", sa.String(32)),
        sa.Column("span_id", sa.String(16)),
        sa.Column("instance_id", sa.String(64), nullable=False),
        sa.Column("claim", sa.BigInteger, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("handed_over_ms", sa.BigInteger),
        sa.Column("written_ms", sa.BigInteger, nullable=False),
    ]


def _call_indexes() -> None:
    table = "call_records"
    op.create_index("ix_call_records_received", table, ["received_ms", "call_id"])
    op.create_index("ix_call_records_tenant_received", table, ["tenant_id", "received_ms", "call_id"])
    op.create_index("ix_call_records_open", table, ["instance_id"], sqlite_where=_OPEN, postgresql_where=_OPEN)
    op.create_index(
        "ix_call_records_usage",
        table,
        ["usage_from_ms", "tenant_id", "duration_ms", "outcome", "reason"],
        sqlite_where=_CLOSED,
        postgresql_where=_CLOSED,
    )
    op.create_index("ix_call_records_duration", table, ["duration_ms"])


def _instances() -> None:
    op.create_table(
        "instances",
        sa.Column("instance_id", sa.String(64), nullable=False),
        sa.Column("host", sa.String(255), nullable=False),
        sa.Column("pid", sa.BigInteger, nullable=False),
        sa.Column("started_ms", sa.BigInteger, nullable=False),
        sa.Column("last_beat_ms", sa.BigInteger, nullable=False),
        sa.Column("beats", sa.BigInteger, nullable=False),
        sa.Column("stopped_ms", sa.BigInteger),
        sa.PrimaryKeyConstraint("instance_id", name="pk_instances"),
    )
