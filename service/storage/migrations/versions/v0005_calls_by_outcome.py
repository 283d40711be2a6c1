"""Indexes for finding calls by how they turned out, and one for usage that answers alone.

SQLite reads a row for each column a statement names, the one behind a partial index's condition too.
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_CLOSED = sa.text("ended_ms IS NOT NULL")


_USAGE = "ix_call_records_usage"
_USED = ["usage_from_ms", "tenant_id", "duration_ms", "outcome", "reason"]


def upgrade() -> None:
    """Create the first, once for all tenants and once for each, and the second anew."""
    _create("ix_call_records_outcome", ["outcome", "received_ms", "call_id"])
    _create("ix_call_records_tenant_outcome", ["tenant_id", "outcome", "received_ms", "call_id"])
    op.drop_index(_USAGE, "call_records")
    _create(_USAGE, [*_USED, "ended_ms"])


def downgrade() -> None:
    """Undo all."""
    op.drop_index(_USAGE, "call_records")
    _create(_USAGE, _USED)
    op.drop_index("ix_call_records_tenant_outcome", "call_records")
    op.drop_index("ix_call_records_outcome", "call_records")


def _create(name: str, columns: list[str]) -> None:
    op.create_index(name, "call_records", columns, sqlite_where=_CLOSED, postgresql_where=_CLOSED)
