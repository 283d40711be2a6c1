"""Databases that cannot be used: one sentence with cause and cure at the start, and nothing secret in it."""

import os
import shutil
import socket
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import text

from service.storage.database import Database
from service.storage.migrations import upgrade
from service.storage.url import DatabaseUrlError

SECRET = "s3cr3t-passw0rd"
NOBODY = 65534


async def refusal(url: str) -> str:
    """Return the sentence with which a start on this database ends."""
    async with Database.from_url(url) as database:
        with pytest.raises(DatabaseUrlError) as refused:
            await upgrade(database.engine)
    sentence = str(refused.value)
    assert sentence.startswith("DATABASE_URL: ")
    assert "\n" not in sentence
    assert SECRET not in sentence
    return sentence.removeprefix("DATABASE_URL: ")


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user can reach."""
    folder = Path(tempfile.mkdtemp(prefix="callscope-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@contextmanager
def unprivileged() -> Iterator[None]:
    """Do without the rights of root, for whom no file is read-only."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


async def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    """A file of another kind is not overwritten."""
    file = tmp_path / "notes.db"
    file.write_text("Dear diary, " * 500)
    assert await refusal(f"sqlite:///{file}") == f"{file} is no SQLite database; move it away, or name another file"
    assert file.read_text().startswith("Dear diary")


async def test_a_damaged_file(sqlite_url: str) -> None:
    """A database with a torn page says so, with what helps."""
    file = Path(sqlite_url.partition("///")[2])
    with sqlite3.connect(file) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    with file.open("r+b") as opened:  # noqa: ASYNC230 -- nothing else runs
        opened.seek(100)
        opened.write(b"\xa5" * 100_000)
    assert await refusal(sqlite_url) == f"{file} is damaged; restore a backup, or name another file"


async def test_a_new_file_in_a_folder_that_only_reads(open_folder: Path) -> None:
    """A database that cannot be made says which right is missing."""
    with unprivileged():
        assert "give this user write access to it and its folder" in await refusal(f"sqlite:///{open_folder}/calls.db")


async def test_a_file_that_only_reads(open_folder: Path, migrated_file: Path) -> None:
    """So does one that is there and cannot be written."""
    shutil.copy(migrated_file, open_folder / "calls.db")
    (open_folder / "calls.db").chmod(0o644)
    with unprivileged():
        assert "give this user write access to it and its folder" in await refusal(f"sqlite:///{open_folder}/calls.db")


async def test_a_locked_file(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A database that another program keeps locked is not waited for without end."""
    monkeypatch.setattr("service.storage.database.BUSY_SECONDS", 0.01)
    file = sqlite_url.partition("///")[2]
    other = sqlite3.connect(file, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    assert await refusal(sqlite_url) == f"{file} is locked by another program; end that, or name another file"
    other.close()


async def test_a_newer_schema(database_url: str) -> None:
    """A database that a newer version migrated is left as it is, on each kind of server."""
    async with Database.from_url(database_url) as database, database.writing() as session:
        await session.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    assert await refusal(database_url) == (
        "the schema is at revision 9999, made by a newer version of Callscope; run that version, or name another"
        " database"
    )


async def test_a_server_that_is_not_there() -> None:
    """A refused connection names host and port."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        found = await refusal(f"postgresql://ada:{SECRET}@127.0.0.1:{port}/calls")
    assert found.startswith(f"the server 127.0.0.1:{port} cannot be reached (")
    assert found.endswith("); start it, or correct host and port")


async def test_a_host_that_does_not_exist() -> None:
    """A name that no resolver knows is named."""
    found = await refusal(f"postgresql://ada:{SECRET}@callscope.invalid/calls")
    assert found.startswith("the server callscope.invalid:5432 cannot be reached (")


async def test_a_server_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """A port that takes connections and says nothing is given up on."""
    monkeypatch.setattr("service.storage.url.CONNECT_SECONDS", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        found = await refusal(f"postgresql://ada:{SECRET}@127.0.0.1:{port}/calls")
    assert found == f"the server 127.0.0.1:{port} does not answer; start it, or correct host, port and firewall"


@pytest.mark.peers
async def test_a_server_that_refuses(postgres_url: str) -> None:
    """A missing database, an unknown user, one without rights and a parameter that is refused each have their cure."""
    server, _, name = postgres_url.rpartition("/")
    address = server.rpartition("@")[2]
    async with Database.from_url(postgres_url) as database, database.writing() as session:
        await session.execute(text(f"CREATE ROLE guest_{name} LOGIN"))
        await session.execute(text("REVOKE ALL ON ALL TABLES IN SCHEMA public FROM PUBLIC"))
        await session.execute(text("DROP TABLE alembic_version"))
    assert await refusal(f"{server}/nowhere") == (
        f"the server {address} has no database 'nowhere'; create it, or correct the name"
    )
    stranger = postgres_url.replace("callscope@", f"stranger:{SECRET}@")
    assert await refusal(stranger) == f"the server {address} refuses user or password; correct them"
    guest = postgres_url.replace("callscope@", f"guest_{name}@")
    assert await refusal(guest) == (
        f"the user may not make tables in {name!r} on the server {address}; grant CREATE on it"
    )
    assert await refusal(f"{postgres_url}?sslmode=require") == (
        f"the server {address} cannot be reached (ConnectionError); start it, or correct host and port"
    )
