"""The database behind requests: a 503 while it is away, and a check of it for readiness."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import text

from service.http.readiness import Check, Remembered
from service.http.responses import records_unavailable
from service.storage.database import DATABASE_ERRORS, Database
from service.storage.sqlite_file import GONE


@contextmanager
def database_needed() -> Iterator[None]:
    """Turn the database's errors into a 503 problem that says when to come again."""
    try:
        yield
    except DATABASE_ERRORS as error:
        raise records_unavailable() from error


def database_reachable(database: Database) -> Check:
    """Return a check that fails while the database does not answer, or its file is gone.

    The outcome stands for a second.
    """

    async def check() -> str | None:
        if database.file_gone:
            return GONE
        async with database.reading() as session:
            await session.execute(text("SELECT 1"))
        return None

    return Remembered(check)
