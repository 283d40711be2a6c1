"""Real databases with the newest schema, and a process that counts and records calls."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from service.storage.database import Database
from tests.service.reconciliation.harness import ReconciliationHarness


@pytest.fixture
async def harness(database: Database, tmp_path: Path) -> AsyncIterator[ReconciliationHarness]:
    """A process of its own, with a database that has nothing of it yet."""
    async with ReconciliationHarness(database, tmp_path / "spill") as opened:
        yield opened
