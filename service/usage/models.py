"""The tables of billing: how call time is rounded, and what was frozen."""

from sqlalchemy import BigInteger, ForeignKey, Integer, String
from sqlalchemy.orm import Mapped, mapped_column

from service.storage.database import Base
from service.tenants.models import TENANT_ID

ANY_TENANT = "*"
"""In place of a tenant's id: the rule for tenants that have none of their own."""


class RoundingRow(Base):
    """How a tenant's calls that start from a moment on are rounded, until the next rule's moment."""

    __tablename__ = "usage_roundings"

    tenant_id: Mapped[str] = mapped_column(TENANT_ID, primary_key=True)
    """Outlives the tenant: what it owes does not change when it is deleted."""
    valid_from_ms: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    initial_ms: Mapped[int] = mapped_column(BigInteger)
    step_ms: Mapped[int] = mapped_column(BigInteger)
    set_ms: Mapped[int] = mapped_column(BigInteger)
    set_by: Mapped[str] = mapped_column(String(200))


class FreezeRow(Base):
    """A closed period's usage as it was billed."""

    __tablename__ = "usage_freezes"

    freeze_id: Mapped[int] = mapped_column(BigInteger().with_variant(Integer, "sqlite"), primary_key=True)
    from_ms: Mapped[int] = mapped_column(BigInteger)
    to_ms: Mapped[int] = mapped_column(BigInteger)
    time_zone: Mapped[str] = mapped_column(String(64))
    frozen_ms: Mapped[int] = mapped_column(BigInteger)
    frozen_by: Mapped[str] = mapped_column(String(200))
    checksum: Mapped[str] = mapped_column(String(64))
    """SHA-256 over the period and its lines; see :mod:`service.usage.freezing`."""


class FreezeLineRow(Base):
    """One tenant's part of a frozen period."""

    __tablename__ = "usage_freeze_lines"

    freeze_id: Mapped[int] = mapped_column(
        BigInteger, ForeignKey("usage_freezes.freeze_id", ondelete="CASCADE"), primary_key=True, autoincrement=False
    )
    tenant_id: Mapped[str] = mapped_column(TENANT_ID, primary_key=True)
    calls: Mapped[int] = mapped_column(BigInteger)
    answered_calls: Mapped[int] = mapped_column(BigInteger)
    duration_ms: Mapped[int] = mapped_column(BigInteger)
    rounded_ms: Mapped[int] = mapped_column(BigInteger)
