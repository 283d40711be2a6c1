"""The table that a database is known by."""

from sqlalchemy import Integer, String
from sqlalchemy.orm import Mapped, mapped_column

from service.storage.database import Base


class InstallationRow(Base):
    """The one row that a database is known by."""

    __tablename__ = "installation"

    number: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    """1, always."""
    installation_id: Mapped[str] = mapped_column(String(36))
