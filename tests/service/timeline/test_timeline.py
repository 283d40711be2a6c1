"""What of a call is drawn."""

from collections.abc import Callable
from contextlib import suppress

import pytest

from service.timeline.serializer import NO_BACKEND, call_detail
from service.timeline.timeline import Paint, Panel, Sign, Track, Waterfall, waterfall
from telemetry.calls.call import Call
from telemetry.calls.events import Phase
from telemetry.semconv.attributes import OTHER, EndReason
from telemetry.testing import TelemetryKit
from tests.support import calls

Play = Callable[[TelemetryKit], Call]


def drawn(kit: TelemetryKit) -> Waterfall:
    record = kit.recent.call("rtc_1")
    assert record is not None
    return waterfall(call_detail(record, NO_BACKEND))


def track(panel: Panel, label: str) -> Track:
    return next(track for track in panel.tracks if track.label == label)


def labels(panel: Panel) -> list[str]:
    return [track.label for track in panel.tracks]


@pytest.mark.parametrize("play", [calls.rejected, calls.at_once, calls.ordinary, calls.hour_long, calls.running])
def test_everything_drawn_lies_on_its_axis(kit: TelemetryKit, play: Play) -> None:
    """Whatever happened, bars begin before they end, and neither bars nor marks leave their panel."""
    play(kit)
    for panel in drawn(kit).panels:
        for bar in (bar for track in panel.tracks for bar in track.bars):
            assert 0 <= bar.start <= bar.end
            assert bar.start <= panel.end * 1.000001
        assert all(0 <= mark.at <= panel.end * 1.000001 for track in panel.tracks for mark in track.marks)


def test_a_long_call_shows_its_setup_apart(kit: TelemetryKit) -> None:
    """Setup takes milliseconds and a conversation minutes: each has an axis it can be seen on."""
    calls.ordinary(kit)
    setup, call = drawn(kit).panels
    assert (setup.title, call.title) == ("Setup", "Call")
    assert setup.end == pytest.approx(0.82)
    assert labels(setup) == ["call", "state", "tenant lookup", "instructions", "accept", "connect"]
    assert labels(call) == [
        "call",
        "state",
        "transfer",
        "caller",
        "agent",
        "wait",
        "lookup_order",
        "book_table",
        "errors",
    ]


def test_a_short_call_needs_one_panel(kit: TelemetryKit) -> None:
    """A call that is over before it got far is on one axis, and has no tracks for a conversation there was not."""
    calls.at_once(kit)
    (panel,) = drawn(kit).panels
    assert labels(panel) == ["call", "state", "tenant lookup", "instructions", "accept", "connect"]


def test_a_rejected_call_is_drawn_to_the_end_of_the_rejection(kit: TelemetryKit) -> None:
    """The axis has room for telling the carrier, and the explanation says why."""
    calls.rejected(kit)
    drawing = drawn(kit)
    (panel,) = drawing.panels
    assert panel.end == pytest.approx(0.102)
    assert not panel.open
    assert "limit of 10" in drawing.explanation
    last = track(panel, "state").marks[-1]
    assert (last.text, round(last.at, 3)) == ("rejected", 0.012)


def test_a_running_call_has_an_open_edge(kit: TelemetryKit) -> None:
    """Of a call that goes on, what is under way is open, and what is over is not."""
    call = calls.running(kit)
    with call.tool("lookup", "call_1"):
        kit.clock.advance(2.6)
        drawing = drawn(kit)
    setup, panel = drawing.panels
    assert (setup.open, panel.open) == (False, True)
    assert not any(bar.open for track in setup.tracks for bar in track.bars)
    open_bars = {track.label for track in panel.tracks for bar in track.bars if bar.open}
    assert open_bars == {"call", "wait", "lookup"}
    assert [moment.text for moment in drawing.moments] == ["turn 3 had no answer for 2.6 s"]


def test_interruptions_and_failures_are_marked(kit: TelemetryKit) -> None:
    """The speech that was cut short, the tool that failed and the error stand out, in the drawing and in words."""
    calls.ordinary(kit)
    drawing = drawn(kit)
    panel = drawing.panels[-1]
    assert [mark.sign for mark in track(panel, "agent").marks] == [Sign.INTERRUPTION]
    assert [bar.paint for bar in track(panel, "book_table").bars] == [Paint.FAILED]
    assert [mark.text for mark in track(panel, "errors").marks] == ["rate_limit_exceeded"]
    assert [moment.text for moment in drawing.moments] == [
        "the caller interrupts the agent after 1.5 s of speech",
        "turn 3 was answered after 2.7 s",
        "tool book_table failed: TimeoutError",
        "session error: rate_limit_exceeded",
    ]


def test_what_was_left_out_is_not_drawn_as_silence(kit: TelemetryKit) -> None:
    """Between the first and the last rows of a long call there is a hatched stretch, and a note with the numbers."""
    calls.hour_long(kit)
    drawing = drawn(kit)
    gaps = [bar for bar in track(drawing.panels[-1], "caller").bars if bar.paint is Paint.LEFT_OUT]
    assert [bar.text for bar in gaps] == ["left out"]
    assert "897 stretches of speech" in drawing.notes[0]
    assert [moment.text for moment in drawing.moments] == [
        "the first of 56 interruptions",
        "the call failed: SessionLost",
    ]


def test_many_moments_are_told_by_weight(kit: TelemetryKit) -> None:
    """Of more than can be read at a glance, failures come before waits, and the rest is counted."""
    call = calls.started(kit)
    calls.greeting(kit, call)
    for _ in range(6):
        calls.failed_tool(kit, call)
        calls.turn(kit, call, wait=4)
    call.ended(EndReason.HANGUP)
    told = [moment.text for moment in drawn(kit).moments]
    assert len(told) == 9
    assert sum("failed" in text for text in told) == 6
    assert told[-1] == "… and 4 more"


def test_many_tools_share_a_track(kit: TelemetryKit) -> None:
    """More tools than there is room for are drawn together."""
    call = calls.started(kit)
    for number in range(8):
        with call.tool(f"tool_{number}", f"call_{number}"):
            kit.clock.advance(1)
    panel = drawn(kit).panels[-1]
    assert [label for label in labels(panel) if "tool" in label] == ["tool_0", "tool_1", "tool_2", "other tools"]
    assert len(track(panel, "other tools").bars) == 5


def test_a_call_that_was_over_at_once_can_be_drawn(kit: TelemetryKit) -> None:
    """A call without any length has an axis all the same."""
    kit.tracker.received("rtc_1", "acme").finish(EndReason.ERROR)
    (panel,) = drawn(kit).panels
    assert panel.end > 0


def test_a_failed_phase_is_painted_as_such(kit: TelemetryKit) -> None:
    """A phase that failed has the colour of failure, and says with what."""
    call = calls.announced(kit)
    with pytest.raises(TimeoutError), call.phase(Phase.ACCEPT):
        raise TimeoutError
    (bar,) = track(drawn(kit).panels[0], "accept").bars
    assert (bar.paint, bar.text) == (Paint.FAILED, "accept, 0.0 ms, failed: TimeoutError")


def test_an_unsampled_trace_is_noted(kit: TelemetryKit) -> None:
    """A call whose trace head sampling left out says so beside the drawing."""
    calls.at_once(kit)
    record = kit.recent.call("rtc_1")
    assert record is not None
    detail = call_detail(record, NO_BACKEND)
    assert detail.trace is not None
    note = "There are no spans."
    unsampled = detail.model_copy(update={"trace": detail.trace.model_copy(update={"sampled": False, "note": note})})
    assert waterfall(unsampled).notes == (note,)
    assert waterfall(detail).notes == ()


def test_a_call_taken_over_says_so(kit: TelemetryKit) -> None:
    """Of a call another process set up, the drawing says that it begins in the middle."""
    kit.tracker.received("rtc_1", "acme").accepted(resumed=True)
    assert "Taken over from another process" in drawn(kit).notes[0]


def test_a_tool_the_model_made_up_is_told_as_such(kit: TelemetryKit) -> None:
    """A tool nobody registered has no name here, in the drawing as in words."""
    call = calls.started(kit)
    calls.greeting(kit, call)
    with suppress(TimeoutError), call.tool(OTHER, "call_1"):
        kit.clock.advance(0.2)
        raise TimeoutError
    drawing = drawn(kit)
    assert "unknown tool" in labels(drawing.panels[-1])
    assert [moment.text for moment in drawing.moments] == ["unknown tool failed: TimeoutError"]
