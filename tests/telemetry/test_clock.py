"""Moments and clocks."""

import time

from telemetry.clock import Instant, SystemClock
from telemetry.testing import FakeClock


def test_a_duration_is_never_negative() -> None:
    """Between two moments there are as many seconds as the monotonic clock says, and none if it says less."""
    early, late = Instant(1.5, 10), Instant(4.0, 5)
    assert late.since(early) == 2.5
    assert early.since(late) == 0.0


def test_an_earlier_moment_is_earlier_on_both_clocks() -> None:
    """Going back some seconds does so in monotonic and in wall-clock time."""
    assert Instant(10.0, 10**10).minus(2.5) == Instant(7.5, 7_500_000_000)


def test_the_machines_clock_reads_both_clocks() -> None:
    """The system's clock is the machine's monotonic and wall-clock time."""
    before = (time.monotonic(), time.time_ns())
    now = SystemClock().now()
    after = (time.monotonic(), time.time_ns())
    assert before[0] <= now.monotonic <= after[0]
    assert before[1] <= now.unix_nanos <= after[1]


def test_a_fake_clock_moves_only_when_told() -> None:
    """Two looks at a fake clock are the same moment until it is advanced, on both of its faces."""
    clock = FakeClock()
    first = clock.now()
    assert clock.now() == first
    later = clock.advance(1.5)
    assert clock.now() == later
    assert later.since(first) == 1.5
    assert later.unix_nanos - first.unix_nanos == 1_500_000_000


def test_wall_clock_milliseconds_are_whole_and_rounded_down() -> None:
    """A moment's Unix milliseconds leave the rest of its nanoseconds out."""
    assert Instant(0.0, 1_999_999).unix_ms == 1
    assert Instant(0.0, 2_000_000).unix_ms == 2
