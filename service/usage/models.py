"""Tables of billing: rounding rules with their changes, and frozen periods with their lines, calls and adjustments."""

from sqlalchemy import BigInteger, Boolean, ForeignKey, Index, Integer, String, false
from sqlalchemy.orm import Mapped, mapped_column

from service.records.models import CALL_ID
from service.storage.database import Base
from service.tenants.models import TENANT_ID

ANY_TENANT = "*"
"""In place of a tenant's id: the rule for tenants that have none of their own."""
_COUNTING_ID = BigInteger().with_variant(Integer, "sqlite")
# SQLite counts up only a column of type INTEGER, and reuses a deleted last id unless told not to.
_NEVER_REUSED = {"sqlite_autoincrement": True}


class RoundingRow(Base):
    """The rounding of a tenant's calls that start from a moment on, until the next rule's moment."""

    __tablename__ = "usage_roundings"

    tenant_id: Mapped[str] = mapped_column(TENANT_ID, primary_key=True)
    """Outlives the tenant: its debts do not change when it is deleted."""
    valid_from_ms: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    initial_ms: Mapped[int] = mapped_column(BigInteger)
    step_ms: Mapped[int] = mapped_column(BigInteger)
    by_start: Mapped[bool] = mapped_column(Boolean, server_default=false())
    """True: a whole call counts where it started, not where it ran."""
    set_ms: Mapped[int] = mapped_column(BigInteger)
    set_by: Mapped[str] = mapped_column(String(200))


class RoundingChangeRow(Base):
    """A rule that was agreed, replaced or withdrawn, by whom and when."""

    __tablename__ = "usage_rounding_changes"

    change_id: Mapped[int] = mapped_column(_COUNTING_ID, primary_key=True)
    at_ms: Mapped[int] = mapped_column(BigInteger)
    actor: Mapped[str] = mapped_column(String(200))
    tenant_id: Mapped[str] = mapped_column(TENANT_ID)
    valid_from_ms: Mapped[int] = mapped_column(BigInteger)
    before_initial_ms: Mapped[int | None] = mapped_column(BigInteger)
    before_step_ms: Mapped[int | None] = mapped_column(BigInteger)
    before_by_start: Mapped[bool | None] = mapped_column(Boolean)
    after_initial_ms: Mapped[int | None] = mapped_column(BigInteger)
    after_step_ms: Mapped[int | None] = mapped_column(BigInteger)
    after_by_start: Mapped[bool | None] = mapped_column(Boolean)

    __table_args__ = (Index("ix_usage_rounding_changes_tenant", "tenant_id", "change_id"), _NEVER_REUSED)


class DocumentRow(Base):
    """A frozen period, or an adjustment of one: numbered in one sequence, each sealed over the one before."""

    __tablename__ = "billing_documents"

    document_id: Mapped[int] = mapped_column(_COUNTING_ID, primary_key=True)
    adjusts: Mapped[int | None] = mapped_column(BigInteger, ForeignKey("billing_documents.document_id"))
    """The freeze that this adjustment belongs to; null for a freeze."""
    tenant_id: Mapped[str | None] = mapped_column(TENANT_ID)
    """The one tenant it is about; null for all."""
    from_ms: Mapped[int] = mapped_column(BigInteger)
    to_ms: Mapped[int] = mapped_column(BigInteger)
    time_zone: Mapped[str] = mapped_column(String(64))
    made_ms: Mapped[int] = mapped_column(BigInteger)
    made_by: Mapped[str] = mapped_column(String(200))
    calls_digest: Mapped[str | None] = mapped_column(String(64))
    """SHA-256 over its calls; null for a freeze from before calls were kept."""
    checksum: Mapped[str] = mapped_column(String(64))
    """The seal; see :mod:`service.usage.documents`."""

    __table_args__ = (_NEVER_REUSED,)


class DocumentLineRow(Base):
    """One tenant's sums in a document; of an adjustment the differences."""

    __tablename__ = "billing_lines"

    document_id: Mapped[int] = mapped_column(
        BigInteger, ForeignKey("billing_documents.document_id"), primary_key=True, autoincrement=False
    )
    tenant_id: Mapped[str] = mapped_column(TENANT_ID, primary_key=True)
    calls: Mapped[int] = mapped_column(BigInteger)
    answered_calls: Mapped[int] = mapped_column(BigInteger)
    duration_ms: Mapped[int] = mapped_column(BigInteger)
    rounded_ms: Mapped[int] = mapped_column(BigInteger)


class BilledCallRow(Base):
    """A call's part in a frozen period as it was billed; an adjustment adds the call's new state."""

    __tablename__ = "billing_calls"

    freeze_id: Mapped[int] = mapped_column(
        BigInteger, ForeignKey("billing_documents.document_id"), primary_key=True, autoincrement=False
    )
    call_id: Mapped[str] = mapped_column(CALL_ID, primary_key=True)
    document_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    """The freeze itself, or the adjustment that brought this state; the highest holds."""
    tenant_id: Mapped[str] = mapped_column(TENANT_ID)
    calls: Mapped[int] = mapped_column(Integer)
    """1 if it started in the period, else 0."""
    answered_calls: Mapped[int] = mapped_column(Integer)
    duration_ms: Mapped[int] = mapped_column(BigInteger)
    rounded_ms: Mapped[int] = mapped_column(BigInteger)
