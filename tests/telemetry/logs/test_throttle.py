"""Lines that others can cause in any number."""

import logging

import pytest

from telemetry.logs.throttle import LOG_SECONDS, MAX_KINDS, NOT_LOGGED, ThrottledLog
from telemetry.testing import FakeClock


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def throttled(clock: FakeClock) -> ThrottledLog:
    return ThrottledLog(logging.getLogger("test"), monotonic=lambda: clock.now().monotonic)


def test_a_line_a_minute_says_how_many_there_were(
    clock: FakeClock, throttled: ThrottledLog, caplog: pytest.LogCaptureFixture
) -> None:
    """Of each kind one line is written, and the next one counts those left out, in words and as an attribute."""
    for number in range(5):
        throttled.warning("a", "a from %s", number)
    throttled.warning("b", "b", extra={"colour": "blue"})
    clock.advance(LOG_SECONDS - 0.001)
    throttled.warning("a", "a from %s", 5)
    clock.advance(0.001)
    throttled.warning("a", "a from %s", 6, extra={"colour": "red"})
    clock.advance(LOG_SECONDS)
    throttled.warning("a", "a from %s", 7)
    assert caplog.messages == ["a from 0", "b", "a from 6 (and 5 more since the last such line)", "a from 7"]
    assert [(vars(r).get("colour"), vars(r).get(NOT_LOGGED)) for r in caplog.records] == [
        (None, None),
        ("blue", None),
        ("red", 5),
        (None, None),
    ]


def test_the_kinds_told_apart_are_bounded(
    clock: FakeClock, throttled: ThrottledLog, caplog: pytest.LogCaptureFixture
) -> None:
    """However many kinds there are, no more than these and one for all others have a line a minute and are kept."""
    for number in range(10 * MAX_KINDS):
        throttled.warning(f"kind-{number}", "kind %d", number)
    assert caplog.messages == [f"kind {number}" for number in range(MAX_KINDS + 1)]
    assert len(throttled._written) == MAX_KINDS + 1
    clock.advance(LOG_SECONDS)
    throttled.warning("one more", "one more")
    assert vars(caplog.records[-1])[NOT_LOGGED] == 9 * MAX_KINDS - 1
