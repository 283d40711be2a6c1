"""Room for the names of SIP users beside numbers: ``sip:`` and up to sixty characters."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Widen the column."""
    _change(sa.String(16), sa.String(64))


def downgrade() -> None:
    """Let go of what is too long for the narrower column, and narrow it."""
    op.execute("DELETE FROM tenant_numbers WHERE length(number) > 16")
    _change(sa.String(64), sa.String(16))


def _change(before: sa.String, after: sa.String) -> None:
    with op.batch_alter_table("tenant_numbers") as table:
        table.alter_column("number", existing_type=before, type_=after, existing_nullable=False)
