"""What every test may use."""

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from telemetry.testing import TelemetryKit, capture

# How long examples take, and how long it takes to make them up, tells of the machine and nothing of a test.
settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")

pytest_plugins = [
    "tests.peers.plugin",
    "tests.support.disks",
    "tests.support.databases",
    "tests.support.order",
    "tests.support.sharing",
    "tests.support.stores",
]


@pytest.fixture
def kit() -> Iterator[TelemetryKit]:
    """A pipeline in memory."""
    with capture() as captured:
        yield captured
