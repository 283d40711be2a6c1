"""Real databases with the newest schema, and a process that counts and records calls."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from service.storage.database import Database
from tests.service.reconciliation.house import House


@pytest.fixture
async def house(database: Database, tmp_path: Path) -> AsyncIterator[House]:
    """A process of its own, with a database that has nothing of it yet."""
    async with House(database, tmp_path / "spill") as opened:
        yield opened
