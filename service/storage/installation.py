"""The id of a database, made once: processes that read the same one use the same database."""

from typing import cast
from uuid import uuid4

from sqlalchemy import Integer, String, Table, select
from sqlalchemy.orm import Mapped, mapped_column

from service.storage.database import Base, Database, insert_into


class InstallationRow(Base):
    """The one row that a database is known by."""

    __tablename__ = "installation"

    number: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    """1, always."""
    installation_id: Mapped[str] = mapped_column(String(36))


async def installation_id(database: Database) -> str:
    """Return the id; raise what the database raises."""
    row = InstallationRow
    insert = insert_into(cast("Table", row.__table__), database.engine.dialect)
    async with database.writing() as session:
        await session.execute(insert.values(number=1, installation_id=str(uuid4())).on_conflict_do_nothing())
        return str(await session.scalar(select(row.installation_id).where(row.number == 1)))
