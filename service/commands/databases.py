"""The database a command works on: named, brought up to date, and its errors told in one sentence."""

import asyncio
import getpass
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, TypeVar

import typer
from sqlalchemy import make_url

from service.commands.printing import refuse_with
from service.settings import SettingsError, load_settings
from service.storage.database import DATABASE_ERRORS, Database, failure_reason
from service.storage.migrations import upgrade
from service.storage.url import DatabaseUrlError, resolve
from telemetry.terminal import printable

DatabaseUrl = Annotated[
    str | None, typer.Option("--database-url", help="Instead of DATABASE_URL from the environment or .env.")
]
T = TypeVar("T")


def on_database(chosen: str | None, work: Callable[[Database], Awaitable[T]], *, creates: bool = False) -> T:
    """Do the work on the database, and name it on standard error, where it leaves what is printed fit for a pipe.

    A database or a setting that cannot be used ends the command with code 1 and the reason; other errors of the work
    come through.

    Args:
        chosen: The URL, or None for that of the settings.
        work: Gets the database with its schema up to date.
        creates: Make a SQLite file that does not exist. Else that is an error: a command that reads would find nothing
            in a new one, and nothing looks like an answer.
    """
    try:
        return asyncio.run(_opened(chosen or load_settings().database_url.get_secret_value(), work, creates=creates))
    except (DatabaseUrlError, SettingsError) as error:
        refuse_with(str(error))
    except DATABASE_ERRORS as error:
        refuse_with(f"DATABASE_URL: the database cannot be used: {failure_reason(error)}")


async def _opened(text: str, work: Callable[[Database], Awaitable[T]], *, creates: bool) -> T:
    url = resolve(text)
    async with Database.from_url(text) as database:
        if url.get_backend_name() == "sqlite" and not creates:
            _demand_file(Path(str(url.database)))
        typer.echo(f"Database: {printable(make_url(text).render_as_string(hide_password=True))}", err=True)
        await upgrade(database.engine)
        return await work(database)


def _demand_file(file: Path) -> None:
    if not file.exists():
        raise DatabaseUrlError(
            f"there is no database {file.absolute()}; run the command with the service's environment or in its"
            " folder, or name the database with --database-url"
        )


def operator() -> str:
    """Return the operating system's user, where there is one, as audit and books name it."""
    try:
        return f"cli:{getpass.getuser()}"
    except (KeyError, OSError):
        return "cli"
