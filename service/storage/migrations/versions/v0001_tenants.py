"""Tenants, their numbers, instructions and audit, and the counter of changes."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_TENANT_ID = sa.String(63).with_variant(sa.String(63, collation="C"), "postgresql")
_MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Create the tables and the counter's only row."""
    _tenants()
    _numbers()
    _instructions()
    _audit()
    _changes()


def _tenants() -> None:
    op.create_table(
        "tenants",
        sa.Column("tenant_id", _TENANT_ID, nullable=False),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("enabled", sa.Boolean, nullable=False),
        sa.Column("max_concurrent_calls", sa.Integer),
        sa.Column("transfer_targets", sa.JSON, nullable=False),
        sa.Column("features", sa.JSON, nullable=False),
        sa.Column("created_at", _MOMENT, nullable=False),
        sa.Column("updated_at", _MOMENT, nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", name="pk_tenants"),
        sa.CheckConstraint("max_concurrent_calls >= 0", name=op.f("ck_tenants_limit_not_negative")),
    )


def _numbers() -> None:
    op.create_table(
        "tenant_numbers",
        sa.Column("number", sa.String(16), nullable=False),
        sa.Column("tenant_id", _TENANT_ID, nullable=False),
        sa.PrimaryKeyConstraint("number", name="pk_tenant_numbers"),
        _belongs_to_tenant("tenant_numbers"),
    )
    op.create_index("ix_tenant_numbers_tenant_id", "tenant_numbers", ["tenant_id"])


def _instructions() -> None:
    op.create_table(
        "tenant_instructions",
        sa.Column("tenant_id", _TENANT_ID, nullable=False),
        sa.Column("version", sa.Integer, autoincrement=False, nullable=False),
        sa.Column("text", sa.Text),
        sa.Column("created_at", _MOMENT, nullable=False),
        sa.Column("created_by", sa.String(200), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "version", name="pk_tenant_instructions"),
        _belongs_to_tenant("tenant_instructions"),
    )


def _belongs_to_tenant(table: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        ["tenant_id"], ["tenants.tenant_id"], name=f"fk_{table}_tenant_id_tenants", ondelete="CASCADE"
    )


def _audit() -> None:
    op.create_table(
        "tenant_audit",
        sa.Column("entry_id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), nullable=False),
        sa.Column("at", _MOMENT, nullable=False),
        sa.Column("actor", sa.String(200), nullable=False),
        sa.Column("action", sa.String(16), nullable=False),
        sa.Column("tenant_id", _TENANT_ID, nullable=False),
        sa.Column("before", sa.JSON, nullable=False),
        sa.Column("after", sa.JSON, nullable=False),
        sa.PrimaryKeyConstraint("entry_id", name="pk_tenant_audit"),
    )
    op.create_index("ix_tenant_audit_tenant_id_entry_id", "tenant_audit", ["tenant_id", "entry_id"])


def _changes() -> None:
    changes = op.create_table(
        "tenant_changes",
        sa.Column("row_id", sa.Integer, autoincrement=False, nullable=False),
        sa.Column("revision", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("row_id", name="pk_tenant_changes"),
        sa.CheckConstraint("row_id = 1", name=op.f("ck_tenant_changes_one_row")),
    )
    op.bulk_insert(changes, [{"row_id": 1, "revision": 0}])
