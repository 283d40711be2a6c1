"""Billing: changes of rounding rules, and frozen periods with their calls, their adjustments and ids never reused."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_TENANT_ID = sa.String(63).with_variant(sa.String(63, collation="C"), "postgresql")
_CALL_ID = sa.String(255).with_variant(sa.String(255, collation="C"), "postgresql")
_COUNTING_ID = sa.BigInteger().with_variant(sa.Integer, "sqlite")
_CLOSED = sa.text("ended_ms IS NOT NULL")


def upgrade() -> None:
    """Create the tables, move frozen periods into them, and give one tenant's usage an index of its own."""
    op.add_column("usage_roundings", sa.Column("by_start", sa.Boolean, server_default=sa.false(), nullable=False))
    _rounding_changes()
    _documents()
    _lines_and_calls()
    _move_freezes()
    op.create_index(
        "ix_call_records_tenant_usage",
        "call_records",
        ["tenant_id", "usage_from_ms", "duration_ms", "outcome", "reason", "ended_ms"],
        sqlite_where=_CLOSED,
        postgresql_where=_CLOSED,
    )


def _rounding_changes() -> None:
    op.create_table(
        "usage_rounding_changes",
        sa.Column("change_id", _COUNTING_ID, nullable=False),
        sa.Column("at_ms", sa.BigInteger, nullable=False),
        sa.Column("actor", sa.String(200), nullable=False),
        sa.Column("tenant_id", _TENANT_ID, nullable=False),
        sa.Column("valid_from_ms", sa.BigInteger, nullable=False),
        *(
            sa.Column(f"{side}_{name}", kind)
            for side in ("before", "after")
            for name, kind in (("initial_ms", sa.BigInteger), ("step_ms", sa.BigInteger), ("by_start", sa.Boolean))
        ),
        sa.PrimaryKeyConstraint("change_id", name="pk_usage_rounding_changes"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_usage_rounding_changes_tenant", "usage_rounding_changes", ["tenant_id", "change_id"])
    op.execute(
        "INSERT INTO usage_rounding_changes"
        " (at_ms, actor, tenant_id, valid_from_ms, after_initial_ms, after_step_ms, after_by_start)"
        " SELECT set_ms, set_by, tenant_id, valid_from_ms, initial_ms, step_ms, by_start FROM usage_roundings"
        " ORDER BY set_ms"
    )


def _documents() -> None:
    op.create_table(
        "billing_documents",
        sa.Column("document_id", _COUNTING_ID, nullable=False),
        sa.Column("adjusts", sa.BigInteger),
        sa.Column("tenant_id", _TENANT_ID),
        sa.Column("from_ms", sa.BigInteger, nullable=False),
        sa.Column("to_ms", sa.BigInteger, nullable=False),
        sa.Column("time_zone", sa.String(64), nullable=False),
        sa.Column("made_ms", sa.BigInteger, nullable=False),
        sa.Column("made_by", sa.String(200), nullable=False),
        sa.Column("calls_digest", sa.String(64)),
        sa.Column("checksum", sa.String(64), nullable=False),
        sa.PrimaryKeyConstraint("document_id", name="pk_billing_documents"),
        _of_document("billing_documents", "adjusts"),
        sqlite_autoincrement=True,
    )


def _lines_and_calls() -> None:
    op.create_table(
        "billing_lines",
        sa.Column("document_id", sa.BigInteger, autoincrement=False, nullable=False),
        sa.Column("tenant_id", _TENANT_ID, nullable=False),
        *(
            sa.Column(name, sa.BigInteger, nullable=False)
            for name in ("calls", "answered_calls", "duration_ms", "rounded_ms")
        ),
        sa.PrimaryKeyConstraint("document_id", "tenant_id", name="pk_billing_lines"),
        _of_document("billing_lines", "document_id"),
    )
    op.create_table(
        "billing_calls",
        sa.Column("freeze_id", sa.BigInteger, autoincrement=False, nullable=False),
        sa.Column("call_id", _CALL_ID, nullable=False),
        sa.Column("document_id", sa.BigInteger, autoincrement=False, nullable=False),
        sa.Column("tenant_id", _TENANT_ID, nullable=False),
        sa.Column("calls", sa.Integer, nullable=False),
        sa.Column("answered_calls", sa.Integer, nullable=False),
        sa.Column("duration_ms", sa.BigInteger, nullable=False),
        sa.Column("rounded_ms", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("freeze_id", "call_id", "document_id", name="pk_billing_calls"),
        _of_document("billing_calls", "freeze_id"),
    )


def _of_document(table: str, column: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        [column], ["billing_documents.document_id"], name=f"fk_{table}_{column}_billing_documents"
    )


def _move_freezes() -> None:
    op.execute(
        "INSERT INTO billing_documents"
        " (document_id, from_ms, to_ms, time_zone, made_ms, made_by, checksum)"
        " SELECT freeze_id, from_ms, to_ms, time_zone, frozen_ms, frozen_by, checksum FROM usage_freezes"
    )
    op.execute("INSERT INTO billing_lines SELECT * FROM usage_freeze_lines")
    if op.get_bind().dialect.name == "postgresql":
        op.execute(
            "SELECT setval(pg_get_serial_sequence('billing_documents', 'document_id'),"
            " (SELECT coalesce(max(document_id), 0) + 1 FROM billing_documents), false)"
        )
    op.drop_table("usage_freeze_lines")
    op.drop_table("usage_freezes")
