"""What these tests share."""

from collections.abc import Iterator

import pytest

from telemetry.testing import TelemetryKit, capture


@pytest.fixture
def kit() -> Iterator[TelemetryKit]:
    """A pipeline in memory."""
    with capture() as captured:
        yield captured
