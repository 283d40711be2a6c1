"""The schema's history, and the way to its newest state.

A change of the models needs a revision in ``versions/``; the test that compares both prints what is missing in it.
There is no way back but a backup: undoing a revision would drop what was written since.
"""

from collections.abc import Sequence
from functools import cache
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
    history = _history()
    current = MigrationContext.configure(connection).get_current_heads()
    _demand_known(current, history)
    if revision == NEWEST and set(current) == set(history.get_heads()):
        return
    config = _config()
    config.attributes["connection"] = connection
    command.upgrade(config, revision)


def _demand_known(current: Sequence[str], history: ScriptDirectory) -> None:
    known = {script.revision for script in history.walk_revisions()}
    for revision in current:
        if revision not in known:
            raise DatabaseUrlError(
                f"the schema is at revision {revision}, made by a newer version of Callscope; run that version, or name"
                " another database"
            )


@cache
def _history() -> ScriptDirectory:
    return ScriptDirectory.from_config(_config())


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    return config
