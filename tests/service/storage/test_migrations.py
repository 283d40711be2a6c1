"""The schema's history leads to the models, once, however many processes start together."""

import asyncio
import sys
from importlib import import_module
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, select, text
from sqlalchemy.exc import DBAPIError, IntegrityError

from service.storage.database import Base, Database
from service.storage.migrations import upgrade
from service.storage.url import DatabaseUrlError
from service.tenants.models import ChangesRow

SERVICE = Path(__file__).resolve().parents[3] / "service"
MODELS = [import_module(f"service.{file.parent.name}.models") for file in sorted(SERVICE.glob("*/models.py"))]
"""The models of every room, loaded so that the metadata is whole."""

STARTS = 4
"""Processes that migrate one database at the same time."""

MIGRATE = """
import asyncio, sys
from service.storage.database import Database
from service.storage.migrations import upgrade

async def main():
    async with Database.from_url(sys.argv[1]) as database:
        await upgrade(database.engine)

asyncio.run(main())
"""


def _differences(connection: Connection) -> list[object]:
    context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
    return list(compare_metadata(context, Base.metadata))


async def _revisions(database: Database) -> list[int]:
    async with database.reading() as session:
        return list((await session.execute(select(ChangesRow.revision))).scalars())


async def test_the_migrated_schema_is_the_models(database: Database) -> None:
    """After the last migration the database has just what the models say; a difference needs a revision."""
    assert {model.__name__ for model in MODELS} >= {"service.tenants.models", "service.usage.models"}
    async with database.engine.connect() as connection:
        assert await connection.run_sync(_differences) == []


async def test_migrating_again_changes_nothing(database: Database) -> None:
    """A second start finds the schema in place and leaves the data alone."""
    async with database.writing() as session:
        await session.execute(text("UPDATE tenant_changes SET revision = 7"))
    await upgrade(database.engine)
    assert await _revisions(database) == [7]


async def test_processes_that_start_together_take_turns(empty_database_url: str) -> None:
    """Several processes that migrate one empty database at once all succeed, and the migrations ran once."""
    command = (sys.executable, "-W", "error", "-c", MIGRATE, empty_database_url)
    started = [await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.PIPE) for _ in range(STARTS)]
    ended = [((await process.communicate())[1].decode(), process.returncode) for process in started]
    assert ended == [("", 0)] * STARTS
    async with Database.from_url(empty_database_url) as database:
        assert await _revisions(database) == [0]


async def test_a_schema_from_the_future_is_refused(database: Database) -> None:
    """A database that a newer version has migrated is left alone, and the start stops with the reason."""
    async with database.writing() as session:
        await session.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(DatabaseUrlError, match="DATABASE_URL: the schema is at revision 9999, made by a newer version"):
        await upgrade(database.engine)


async def test_a_migration_that_fails_leaves_nothing_behind(empty_database_url: str) -> None:
    """When one table of the schema is in the way, the error comes out and no other table has been made."""
    async with Database.from_url(empty_database_url) as database:
        async with database.writing() as session:
            await session.execute(text("CREATE TABLE tenant_changes (occupied INTEGER)"))
        with pytest.raises(DatabaseUrlError, match="cannot be used") as failed:
            await upgrade(database.engine)
        assert "tenant_changes" in str(failed.value.__cause__)
        async with database.reading() as session:
            with pytest.raises(DBAPIError, match="tenants"):
                await session.execute(text("SELECT * FROM tenants"))


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO tenant_changes (row_id, revision) VALUES (2, 0)",
        "INSERT INTO tenant_numbers (number, tenant_id) VALUES ('+18005550100', 'nobody')",
        "INSERT INTO tenants VALUES ('a', 'A', true, -1, '{}', '{}', '2026-01-01', '2026-01-01', 1)",
    ],
)
async def test_the_database_itself_refuses_nonsense(database: Database, statement: str) -> None:
    """A second counter row, a number of no tenant and a negative limit are refused below the code that checks them."""
    with pytest.raises(IntegrityError):
        async with database.writing() as session:
            await session.execute(text(statement))
