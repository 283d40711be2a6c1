"""A SQLite file that is deleted, moved or replaced under whoever uses it."""

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import Connection, text

from service.http.database import database_reachable
from service.storage.database import DATABASE_ERRORS, Database
from service.storage.sqlite_file import GONE


def kept(connection: Connection) -> list[int]:
    return [row[0] for row in connection.execute(text("SELECT x FROM kept ORDER BY x"))]


def keep(connection: Connection, number: int) -> None:
    connection.execute(text("INSERT INTO kept VALUES (:x)"), {"x": number})


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Where the database is."""
    return tmp_path / "callscope.db"


@pytest.fixture
async def database(file: Path) -> AsyncIterator[Database]:
    """A database with a table, used on every way there is."""
    async with Database.from_url(f"sqlite+aiosqlite:///{file}") as opened:
        async with opened.writing() as session:
            await session.execute(text("CREATE TABLE kept (x INTEGER)"))
        await opened.write(lambda connection: keep(connection, 1))
        yield opened


def take_away(file: Path, to: Path | None = None) -> None:
    """Delete the file, or move it."""
    if to is None:
        file.unlink()
    else:
        file.rename(to)


def put_in_place(backup: Path, file: Path) -> None:
    """Have a backup in the place of the database, as an operator does."""
    for suffix in ("-wal", "-shm"):
        Path(f"{file}{suffix}").unlink(missing_ok=True)
    shutil.move(backup, file)


def names(folder: Path) -> set[str]:
    """Return the names of the files in a folder."""
    return {path.name for path in folder.iterdir()}


async def fails(database: Database) -> None:
    """Nothing can be read or written, and nothing is made in the file's place."""
    with pytest.raises(DATABASE_ERRORS):
        await database.write(lambda connection: keep(connection, 2))
    for use in (database.reading, database.writing):
        with pytest.raises(DATABASE_ERRORS):
            async with use() as session:
                await session.execute(text("SELECT 1"))


@pytest.mark.parametrize("how", ["deleted", "moved"])
async def test_a_file_that_is_gone_is_noticed(database: Database, file: Path, how: str) -> None:
    """No transaction begins on what nobody can open any more, no empty file appears, and readiness says it."""
    reachable = database_reachable(database)
    assert await reachable() is None
    take_away(file, file.with_suffix(".moved") if how == "moved" else None)
    await fails(database)
    assert file.name not in names(file.parent)
    assert database.file_gone
    assert await database_reachable(database)() == GONE


async def test_a_file_that_is_put_back_is_used_again(database: Database, file: Path) -> None:
    """Without a restart, with what it had."""
    elsewhere = file.with_suffix(".moved")
    take_away(file, elsewhere)
    await fails(database)
    take_away(elsewhere, file)
    assert not database.file_gone
    await database.write(lambda connection: keep(connection, 3))
    assert await database.write(kept) == [1, 3]


async def test_another_file_in_its_place_is_opened_anew(
    database: Database, file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A backup that was put in place is what is read and written from then on, and the log says so."""
    backup = file.with_suffix(".backup")
    async with database.writing() as session:
        await session.execute(text("DELETE FROM kept"))
    await database.write(lambda connection: connection.execute(text("SELECT 1")).one())
    async with Database.from_url(f"sqlite+aiosqlite:///{backup}") as made, made.writing() as session:
        await session.execute(text("CREATE TABLE kept (x INTEGER)"))
        await session.execute(text("INSERT INTO kept VALUES (7)"))
    put_in_place(backup, file)
    assert await database.write(kept) == [7]
    async with database.reading() as session:
        assert (await session.execute(text("SELECT x FROM kept"))).scalar_one() == 7
    assert "another file is in the place of the database's" in caplog.text


async def test_a_transaction_under_way_does_not_commit_into_nothing(database: Database, file: Path) -> None:
    """It fails, so that whoever waits for it does not take it for kept."""

    def interrupted(connection: Connection) -> None:
        keep(connection, 2)
        file.unlink()

    with pytest.raises(DATABASE_ERRORS):
        await database.write(interrupted)
