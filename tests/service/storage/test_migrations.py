"""The schema's history leads to the models, once, however many processes start together."""

import asyncio
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, select, text
from sqlalchemy.exc import DBAPIError, IntegrityError

from benchmarks.million_calls import calls, fill
from benchmarks.million_records_migrated import BEFORE, usage
from service.records.record import TALK_COLUMNS
from service.records.store import CallPages, Wanted
from service.storage.database import Base, Database
from service.storage.migrations import upgrade
from service.storage.url import DatabaseUrlError
from service.tenants.models import ChangesRow
from telemetry.semconv.attributes import CallDirection

SERVICE = Path(__file__).resolve().parents[3] / "service"
MODELS = [import_module(f"service.{file.parent.name}.models") for file in sorted(SERVICE.glob("*/models.py"))]
"""The models of every subpackage, loaded so that the metadata is whole."""

COUNT = 2_000
"""Calls of a database that is migrated; a benchmark migrates a million."""

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


async def test_usage_of_the_version_before_is_what_it_was(empty_database_url: str) -> None:
    """A month of calls keeps every byte of its usage, in each grouping, and is found as inbound calls of no source."""
    assert await fill(empty_database_url, calls(COUNT, seed=4), revision=BEFORE) == COUNT
    async with Database.from_url(empty_database_url) as database:
        before, rows = await usage(database), await _rows(database)
        await upgrade(database.engine)
        assert await usage(database) == before
        assert b'"answered_calls"' in before["tenant,day"]
        after = await _rows(database)
        assert [{name: row[name] for name in rows[0]} for row in after] == rows
        added = {name for name in after[0] if name not in rows[0]}
        assert added == {*TALK_COLUMNS, "direction", "source", "fault"}
        assert {tuple(row[name] for name in sorted(added - {"direction", "source"})) for row in after} == {
            (None,) * (len(added) - 2)
        }
        assert {(row["direction"], row["source"]) for row in after} == {("inbound", "direct")}
        page = await CallPages(database).read(Wanted(direction=CallDirection.INBOUND, source="direct"), limit=COUNT)
        assert len(page.calls) == COUNT


async def test_calls_of_the_first_version_with_records_get_their_keys(empty_database_url: str) -> None:
    """All steps since then run over calls that are there: none is lost, and each one's key is taken."""
    assert await fill(empty_database_url, calls(COUNT, seed=5), revision="0005") == COUNT
    async with Database.from_url(empty_database_url) as database:
        await upgrade(database.engine)
        async with database.reading() as session:
            keyed = "SELECT count(*) FROM call_records r JOIN call_keys k ON k.call_id = r.call_id"
            assert await session.scalar(text(keyed)) == COUNT


async def test_a_process_of_the_version_before_goes_on_writing(empty_database_url: str) -> None:
    """While versions change, rows without the newest columns are taken, and read as inbound calls of no source."""
    assert await fill(empty_database_url, calls(1, seed=6), revision=BEFORE) == 1
    async with Database.from_url(empty_database_url) as database:
        (row,) = await _rows(database)
        await upgrade(database.engine)
        values = row | {"call_id": "rtc_old"}
        names = ", ".join(values)
        async with database.writing() as session:
            await session.execute(
                text(f"INSERT INTO call_records ({names}) VALUES (:{', :'.join(values)})"),  # noqa: S608 -- column names
                values,
            )
        page = await CallPages(database).read(Wanted(), limit=5)
        assert {(call.call_id, call.direction, call.source, call.fault) for call in page.calls} == {
            (call_id, CallDirection.INBOUND, "direct", None) for call_id in (row["call_id"], "rtc_old")
        }


async def _rows(database: Database) -> list[dict[str, Any]]:
    async with database.reading() as session:
        found = await session.execute(text("SELECT * FROM call_records ORDER BY call_id"))
        return [dict(row) for row in found.mappings()]


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
