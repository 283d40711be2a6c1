"""Rounding rules and frozen periods."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_TENANT_ID = sa.String(63).with_variant(sa.String(63, collation="C"), "postgresql")


def upgrade() -> None:
    """Create the tables."""
    _roundings()
    _freezes()
    _freeze_lines()


def downgrade() -> None:
    """Drop them, with all that is in them."""
    for table in ("usage_freeze_lines", "usage_freezes", "usage_roundings"):
        op.drop_table(table)


def _roundings() -> None:
    op.create_table(
        "usage_roundings",
        sa.Column("tenant_id", _TENANT_ID, nullable=False),
        sa.Column("valid_from_ms", sa.BigInteger, autoincrement=False, nullable=False),
        sa.Column("initial_ms", sa.BigInteger, nullable=False),
        sa.Column("step_ms", sa.BigInteger, nullable=False),
        sa.Column("set_ms", sa.BigInteger, nullable=False),
        sa.Column("set_by", sa.String(200), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "valid_from_ms", name="pk_usage_roundings"),
    )


def _freezes() -> None:
    op.create_table(
        "usage_freezes",
        sa.Column("freeze_id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), nullable=False),
        sa.Column("from_ms", sa.BigInteger, nullable=False),
        sa.Column("to_ms", sa.BigInteger, nullable=False),
        sa.Column("time_zone", sa.String(64), nullable=False),
        sa.Column("frozen_ms", sa.BigInteger, nullable=False),
        sa.Column("frozen_by", sa.String(200), nullable=False),
        sa.Column("checksum", sa.String(64), nullable=False),
        sa.PrimaryKeyConstraint("freeze_id", name="pk_usage_freezes"),
    )


def _freeze_lines() -> None:
    op.create_table(
        "usage_freeze_lines",
        sa.Column("freeze_id", sa.BigInteger, autoincrement=False, nullable=False),
        sa.Column("tenant_id", _TENANT_ID, nullable=False),
        sa.Column("calls", sa.BigInteger, nullable=False),
        sa.Column("answered_calls", sa.BigInteger, nullable=False),
        sa.Column("duration_ms", sa.BigInteger, nullable=False),
        sa.Column("rounded_ms", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("freeze_id", "tenant_id", name="pk_usage_freeze_lines"),
        sa.ForeignKeyConstraint(
            ["freeze_id"],
            ["usage_freezes.freeze_id"],
            name="fk_usage_freeze_lines_freeze_id_usage_freezes",
            ondelete="CASCADE",
        ),
    )
