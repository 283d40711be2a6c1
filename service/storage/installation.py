"""The id of a database, made once: processes that read the same one use the same database."""

from typing import cast
from uuid import uuid4

from sqlalchemy import Table, select

from service.storage.database import Database, insert_into
from service.storage.models import InstallationRow


async def installation_id(database: Database) -> str:
    """Return the id; raise what the database raises."""
    row = InstallationRow
    insert = insert_into(cast("Table", row.__table__), database.engine.dialect)
    async with database.writing() as session:
        await session.execute(insert.values(number=1, installation_id=str(uuid4())).on_conflict_do_nothing())
        return str(await session.scalar(select(row.installation_id).where(row.number == 1)))
