"""The tables of what processes counted that are gone."""

from sqlalchemy import BigInteger, Integer, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from service.storage.database import Base


class LiveCountsRow(Base):
    """The counts of one tenant, or of all together, by all processes that are gone."""

    __tablename__ = "live_counts"

    fleet: Mapped[str] = mapped_column(String(100), primary_key=True)
    """The prefix of the fleet's keys in its store."""
    tenant_id: Mapped[str] = mapped_column(String(200), primary_key=True)
    """Empty: the total of all tenants."""
    bucket: Mapped[int] = mapped_column(Integer, index=True)
    since_ms: Mapped[int] = mapped_column(BigInteger)
    """The beginning of counting, in Unix milliseconds; of the total, the start of the fleet's first process."""
    numbers: Mapped[str] = mapped_column(Text)
    """A JSON object of integers by code."""


class LiveFoldRow(Base):
    """The rows of one process in one bucket, which were added to the counts once."""

    __tablename__ = "live_folds"

    holder: Mapped[str] = mapped_column(String(100), primary_key=True)
    """Its id and epoch."""
    bucket: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    folded_ms: Mapped[int] = mapped_column(BigInteger, index=True)
    numbers: Mapped[str] = mapped_column(Text)
    """A JSON object of its rows by tenant: should it live after all, it goes on from them."""
