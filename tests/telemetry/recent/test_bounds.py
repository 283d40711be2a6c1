"""The record stays small, and says what it cost."""

import tracemalloc

import pytest

from telemetry.recent.limits import RecentLimits, RowBounds
from telemetry.semconv.attributes import EndReason, RejectionReason
from telemetry.testing import TelemetryKit
from tests.support import calls


def over(kit: TelemetryKit, count: int, first: int = 0) -> None:
    for number in range(first, first + count):
        calls.announced(kit, f"rtc_{number}").rejected(RejectionReason.CAPACITY)


def test_a_call_of_500_turns_stays_bounded_and_says_what_was_cut(kit: TelemetryKit) -> None:
    """However long it talks, a call keeps its first and last rows, and the number of the others is told by kind."""
    calls.hour_long(kit)
    found = kit.recent.call("rtc_1")
    assert found is not None
    limits = RecentLimits()
    assert found.events_truncated
    assert len(found.turns) == limits.turns.first + limits.turns.last
    assert len(found.turns) + found.dropped["turns"] == found.summary.turns == 556
    assert (found.turns[0].number, found.turns[-1].number) == (1, 556)
    assert found.summary.interruptions == 56
    assert found.tokens.responses == 444
    assert {"turns", "speech", "spans"} <= set(found.dropped)
    assert kit.recent.size.estimated_bytes < 200_000
    assert kit.recent.size.left_out == sum(found.dropped.values())


def test_what_was_cut_is_known_by_its_place(kit: TelemetryKit) -> None:
    """Each gap lies between the rows on either side of it."""
    calls.hour_long(kit)
    found = kit.recent.call("rtc_1")
    assert found is not None
    gaps = {gap.kind: gap for gap in found.gaps}
    assert gaps["turns"].count == found.dropped["turns"]
    assert gaps["turns"].start == found.turns[19].end
    assert gaps["turns"].end == found.turns[20].start


def test_a_short_call_loses_nothing(kit: TelemetryKit) -> None:
    """A call within the bounds has nothing left out."""
    calls.ordinary(kit)
    found = kit.recent.call("rtc_1")
    assert found is not None
    assert (found.events_truncated, found.dropped, found.gaps) == (False, {}, ())


def test_ended_calls_go_in_the_order_they_ended() -> None:
    """Past the number of calls kept, the one that was over first is let go, and counted."""
    with TelemetryKit(recent_limits=RecentLimits(calls=3)) as kit:
        early = calls.announced(kit, "rtc_early")
        over(kit, 3)
        early.rejected(RejectionReason.CAPACITY)
        assert kit.recent.call("rtc_0") is None
        assert all(kit.recent.call(call_id) for call_id in ("rtc_1", "rtc_2", "rtc_early"))
        assert (kit.recent.size.calls_over, kit.recent.size.evicted) == (3, 1)


def test_running_calls_outlast_ended_ones() -> None:
    """A call that runs is never let go, however many end meanwhile."""
    with TelemetryKit(recent_limits=RecentLimits(calls=2)) as kit:
        running = [calls.started(kit, f"rtc_running_{number}") for number in range(5)]
        over(kit, 20)
        assert all(kit.recent.call(call.call_id) for call in running)
        assert (kit.recent.size.open_calls, kit.recent.size.calls_over) == (5, 2)


def test_bytes_are_bounded_too() -> None:
    """Ended calls go when all calls together weigh too much, and what they weighed is given back."""
    with TelemetryKit(recent_limits=RecentLimits(total_bytes=60_000)) as kit:
        over(kit, 100)
        size = kit.recent.size
        assert size.estimated_bytes <= 60_000
        assert size.calls_over + size.evicted == 100
        assert size.evicted > 0


def test_running_calls_that_fill_all_the_space_lose_details_only() -> None:
    """With no ended call to let go, further rows are refused and counted; state, sums and counts stay right."""
    with TelemetryKit(recent_limits=RecentLimits(total_bytes=20_000)) as kit:
        call = calls.started(kit)
        for _ in range(100):
            calls.turn(kit, call)
        call.ended(EndReason.COMPLETED)
        found = kit.recent.call("rtc_1")
    # Over at last, it is the only one and still too big: nothing else could make room.
    assert found is None
    assert kit.recent.size.estimated_bytes == 0


def test_refused_details_are_counted_while_the_call_runs() -> None:
    """What is counted or summed goes on while rows are refused."""
    with TelemetryKit(recent_limits=RecentLimits(total_bytes=20_000)) as kit:
        call = calls.started(kit)
        for _ in range(100):
            calls.turn(kit, call)
        found = kit.recent.call("rtc_1")
        assert found is not None
        assert (found.summary.turns, found.tokens.responses) == (100, 100)
        assert found.dropped["turns"] > 50
        assert found.gaps[-1].end is None
        assert kit.recent.size.estimated_bytes < 25_000


def test_announcements_nobody_follows_up_are_bounded() -> None:
    """Announced calls that are never received are forgotten, the oldest first."""
    with TelemetryKit(recent_limits=RecentLimits(announced=3)) as kit:
        for number in range(10):
            kit.tracker.announced(f"rtc_{number}", at=kit.clock.now())
        assert kit.recent.size.announced == 3


def test_an_announcement_the_tracker_would_not_take_is_forgotten() -> None:
    """A call there was no room for leaves nothing behind."""
    with TelemetryKit(max_open=1) as kit:
        calls.started(kit, "rtc_1")
        calls.announced(kit, "rtc_2")
        assert (kit.recent.size.announced, kit.recent.size.open_calls) == (0, 1)
        assert kit.recent.call("rtc_2") is None


def test_tools_at_once_are_bounded() -> None:
    """More tools under way than there is room for are counted, not kept."""
    with TelemetryKit(recent_limits=RecentLimits(open_at_once=2)) as kit:
        call = calls.started(kit)
        with call.tool("a", "1"), call.tool("b", "2"), call.tool("c", "3"):
            pass
        found = kit.recent.call("rtc_1")
        assert found is not None
        assert ([tool.tool for tool in found.tools], found.dropped) == (["b", "a"], {"tools": 1})


def test_long_texts_are_cut(kit: TelemetryKit) -> None:
    """What comes from outside and may be long is kept in part."""
    call = calls.started(kit)
    call.session_error("x" * 100_000)
    call.ended(EndReason.ERROR, error_type="y" * 100_000)
    found = kit.recent.call("rtc_1")
    assert found is not None
    assert len(found.errors[0].detail) <= 128
    assert len(found.summary.error_type or "") <= 128
    assert len(repr(found)) < 10_000


def test_the_estimate_is_near_the_truth() -> None:
    """The bytes the record says it takes are within a factor of two of those it takes."""
    with TelemetryKit(recent_limits=RecentLimits(calls=1_000)) as kit:
        calls.ordinary(kit)
        tracemalloc.start(8)
        try:
            for number in range(100):
                call = calls.started(kit, f"rtc_{number}")
                for _ in range(5):
                    calls.turn(kit, call)
                call.ended(EndReason.HANGUP)
            traces = tracemalloc.take_snapshot().traces
        finally:
            tracemalloc.stop()
        kept_by_the_record = (
            made for made in traces if any("/telemetry/recent/" in f.filename for f in made.traceback)
        )
        taken = sum(made.size for made in kept_by_the_record)
        estimated = kit.recent.size.estimated_bytes
    assert taken / 2 < estimated < taken * 2


@pytest.mark.parametrize("name", ["calls", "total_bytes", "announced", "open_at_once", "text"])
def test_bounds_that_keep_nothing_are_refused(name: str) -> None:
    """A bound below one is a mistake, and the error names it."""
    with pytest.raises(ValueError, match=f"{name} must be at least 1"):
        RecentLimits(**{name: 0})  # type: ignore[arg-type] # the names are all of numbers


def test_each_kind_has_its_bound() -> None:
    """The number of rows kept can be set for each kind."""
    with TelemetryKit(recent_limits=RecentLimits(turns=RowBounds(1, 1), spans=RowBounds(2, 2))) as kit:
        calls.ordinary(kit)
        found = kit.recent.call("rtc_1")
        assert found is not None
        assert found.trace is not None
        assert (len(found.turns), len(found.trace.spans)) == (2, 4)
