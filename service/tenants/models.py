"""The tables tenants live in."""

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, BigInteger, CheckConstraint, ForeignKey, Index, Integer, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from service.storage.database import Base, UtcDateTime

COUNTER_ROW = 1
"""Key of the one row of ``tenant_changes``."""

_COUNTING_ID = BigInteger().with_variant(Integer, "sqlite")
"""SQLite counts up only a column of type INTEGER."""


TENANT_ID = String(63).with_variant(String(63, collation="C"), "postgresql")
"""A tenant's id; sorted by its bytes on every database, whatever language the server was set up for."""


class TenantRow(Base):
    """A tenant as it is now."""

    __tablename__ = "tenants"

    tenant_id: Mapped[str] = mapped_column(TENANT_ID, primary_key=True)
    name: Mapped[str] = mapped_column(String(200))
    enabled: Mapped[bool]
    max_concurrent_calls: Mapped[int | None]
    transfer_targets: Mapped[dict[str, str]] = mapped_column(JSON)
    features: Mapped[dict[str, Any]] = mapped_column(JSON)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    updated_at: Mapped[datetime] = mapped_column(UtcDateTime)
    version: Mapped[int] = mapped_column(BigInteger)

    __table_args__ = (CheckConstraint("max_concurrent_calls >= 0", name="limit_not_negative"),)


class NumberRow(Base):
    """A dialled number and the one tenant it belongs to."""

    __tablename__ = "tenant_numbers"

    number: Mapped[str] = mapped_column(String(64), primary_key=True)
    tenant_id: Mapped[str] = mapped_column(TENANT_ID, ForeignKey("tenants.tenant_id", ondelete="CASCADE"), index=True)


class InstructionsRow(Base):
    """One version of a tenant's instructions; the highest holds, and a null text withdraws them."""

    __tablename__ = "tenant_instructions"

    tenant_id: Mapped[str] = mapped_column(
        TENANT_ID, ForeignKey("tenants.tenant_id", ondelete="CASCADE"), primary_key=True
    )
    version: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    text: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    created_by: Mapped[str] = mapped_column(String(200))


class AuditRow(Base):
    """A change with author and time; outlives the tenant, hence no foreign key."""

    __tablename__ = "tenant_audit"

    entry_id: Mapped[int] = mapped_column(_COUNTING_ID, primary_key=True)
    at: Mapped[datetime] = mapped_column(UtcDateTime)
    actor: Mapped[str] = mapped_column(String(200))
    action: Mapped[str] = mapped_column(String(16))
    tenant_id: Mapped[str] = mapped_column(TENANT_ID)
    before: Mapped[dict[str, Any]] = mapped_column(JSON)
    after: Mapped[dict[str, Any]] = mapped_column(JSON)

    __table_args__ = (Index("ix_tenant_audit_tenant_id_entry_id", "tenant_id", "entry_id"),)


class ChangesRow(Base):
    """One row whose number grows with every change, so that a cache learns of changes for the price of one read."""

    __tablename__ = "tenant_changes"

    row_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    revision: Mapped[int] = mapped_column(BigInteger)

    __table_args__ = (CheckConstraint(f"row_id = {COUNTER_ROW}", name="one_row"),)
