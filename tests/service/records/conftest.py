"""Processes that keep records in a real database."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from service.storage.database import Database
from telemetry.testing import FakeClock
from tests.service.records.harness import RecordsHarness


@pytest.fixture
def clock() -> FakeClock:
    """The clock of all processes of a test."""
    return FakeClock()


@pytest.fixture
async def harness(database: Database, clock: FakeClock, tmp_path: Path) -> AsyncIterator[RecordsHarness]:
    """Where a test starts and ends processes that keep records."""
    async with RecordsHarness(database, clock, tmp_path / "spill") as opened:
        yield opened
