"""The repository of tenants on a real database."""

import pytest

from service.storage.database import Database
from service.tenants.sql import SqlTenantRepository
from telemetry.testing import FakeClock


@pytest.fixture
def clock() -> FakeClock:
    """The clock that the repository stamps with."""
    return FakeClock()


@pytest.fixture
def tenants(database: Database, clock: FakeClock) -> SqlTenantRepository:
    """The repository on that database."""
    return SqlTenantRepository(database, clock=clock)
