"""What every test may use."""

from collections.abc import Iterator

import pytest

from telemetry.testing import TelemetryKit, capture

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
