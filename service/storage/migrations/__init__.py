"""The schema's history, and the way to its newest state.

A change of the models needs a revision in ``versions/``; the test that compares both prints what is missing in it.
There is no way back but a backup: undoing a revision would drop what was written since.
"""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import AsyncEngine

from service.storage.database import MIGRATION_LOCK, WRITING
from service.storage.failures import explained
from service.storage.url import DatabaseUrlError

NEWEST = "head"
"""The revision that the models describe."""


async def upgrade(engine: AsyncEngine, revision: str = NEWEST) -> None:
    """Bring the schema to a revision, in one transaction; nothing happens when it is there.

    Of processes that start together the first migrates; the others wait and find nothing left to do. Tests alone ask
    for a revision that is not the newest.

    Raises:
        DatabaseUrlError: if the database cannot be reached or used, or a newer Callscope has migrated it beyond what
            this one knows; the message is one sentence with cause and cure.
    """
    with explained(engine.url):
        async with engine.execution_options(**WRITING).begin() as connection:
            await connection.run_sync(_upgrade, revision)


def _upgrade(connection: Connection, revision: str) -> None:
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": MIGRATION_LOCK})
    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    _check_known(connection, ScriptDirectory.from_config(config))
    command.upgrade(config, revision)


def _check_known(connection: Connection, history: ScriptDirectory) -> None:
    known = {script.revision for script in history.walk_revisions()}
    for revision in MigrationContext.configure(connection).get_current_heads():
        if revision not in known:
            raise DatabaseUrlError(
                f"the schema is at revision {revision}, made by a newer version of Callscope; run that version, or name"
                " another database"
            )
