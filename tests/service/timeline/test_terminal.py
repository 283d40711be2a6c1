"""The drawing in a terminal."""

import re
from collections.abc import Callable

import pytest
from rich.console import Console

from service.timeline.serializer import NO_BACKEND, call_detail
from service.timeline.terminal import render_terminal
from service.timeline.timeline import Bar, NotableMoment, Paint, Panel, Sign, TimelineMark, Track, Waterfall, waterfall
from telemetry.calls.call import Call
from telemetry.testing import TelemetryKit
from tests.support import calls

Play = Callable[[TelemetryKit], Call]


def printed(drawing: Waterfall, width: int = 100) -> str:
    console = Console(width=width, color_system=None)
    with console.capture() as capture:
        console.print(render_terminal(drawing, width))
    return capture.get()


def drawn(kit: TelemetryKit) -> Waterfall:
    record = kit.recent.call("rtc_1")
    assert record is not None
    return waterfall(call_detail(record, NO_BACKEND))


def line(text: str, label: str) -> str:
    return next(line for line in text.splitlines() if line.strip().startswith(f"{label}  "))


@pytest.mark.parametrize("width", [50, 80, 200])
@pytest.mark.parametrize("play", [calls.rejected, calls.at_once, calls.ordinary, calls.hour_long, calls.running])
def test_no_line_is_broken(kit: TelemetryKit, play: Play, width: int) -> None:
    """In a terminal of any usual width each track is one line."""
    play(kit)
    drawing = drawn(kit)
    text = printed(drawing, width)
    assert all(len(line.rstrip()) <= width for line in text.splitlines())
    for track in drawing.panels[-1].tracks:
        assert sum(line.strip().startswith(f"{track.label[:16]}  ") for line in text.splitlines()) >= 1


def test_a_page_without_end_gets_no_blanks_without_end(kit: TelemetryKit) -> None:
    """Where nobody says how wide it is, as in a pipe, lines are as long as what they say, and the drawing as asked."""
    calls.ordinary(kit)
    console = Console(width=10_000, color_system=None)
    with console.capture() as capture:
        console.print(render_terminal(drawn(kit), 100))
    assert max(len(line) - len(line.rstrip()) for line in capture.get().splitlines()) < 100


def test_it_shows_what_the_picture_shows(kit: TelemetryKit) -> None:
    """Explanation, facts, tracks, marks and moments are all there."""
    calls.ordinary(kit)
    text = printed(drawn(kit))
    assert "it was handed to billing" in text
    assert "…5678 → …0100" in text
    assert line(text, "agent").count("▼") == 1
    assert "◆rate_limit_exceeded" in line(text, "errors")
    assert "tool book_table failed: TimeoutError" in text


def test_what_goes_on_has_an_arrow(kit: TelemetryKit) -> None:
    """The open edge of a running call can be seen."""
    calls.running(kit)
    kit.clock.advance(1)
    text = printed(drawn(kit))
    assert line(text.partition("Call ")[2].partition("Call ")[2], "wait").rstrip().endswith("▶")


def test_bars_too_short_to_see_are_drawn_all_the_same() -> None:
    """Whatever took time has at least one character."""
    bars = tuple(Bar(at, at + 0.001, Paint.TOOL, "") for at in (0.0, 50.0, 100.0))
    text = printed(Waterfall("", "", (), (Panel("", 100.0, (Track("tool", bars),)),), (), ()))
    assert line(text, "tool").count("█") == 3


def test_a_mark_without_room_for_its_text_is_drawn_without() -> None:
    """Texts neither overlap nor leave the line; the marks themselves are always there."""
    marks = tuple(TimelineMark(at, Sign.ERROR, "an error's code") for at in (0.0, 5.0, 10.0, 60.0, 100.0))
    text = printed(Waterfall("", "", (), (Panel("", 100.0, (Track("errors", (), marks),)),), (), ()))
    found = line(text, "errors")
    assert (found.count("◆"), found.count("an error's code")) == (5, 3)
    assert found.rstrip().endswith("an error's code◆")


@pytest.mark.parametrize("width", [70, 80, 200])
@pytest.mark.parametrize(
    "moments", [(0.0, 0.9, 0.9), (0.0, 0.9, 1.0), (0.0, 0.98, 1.0), (0.0, 0.0, 1.0), (0.0, 0.5, 0.52)]
)
def test_steps_are_named_in_their_order(moments: tuple[float, ...], width: int) -> None:
    """However close they come, the first stands on the left, and none is without its name."""
    steps = ("received", "accepted", "started")
    marks = tuple(TimelineMark(at, Sign.STEP, step) for at, step in zip(moments, steps, strict=True))
    text = line(printed(Waterfall("", "", (), (Panel("", 1.0, (Track("state", (), marks),)),), (), ()), width), "state")
    assert re.findall("received|accepted|started", text) == list(steps)


def test_nothing_in_a_call_commands_the_terminal() -> None:
    """Control codes and markup from outside are shown as what they are."""
    bad = "\x1b[2J\x07[bold red]x[/]\u202e"
    panel = Panel("p", 1.0, (Track(bad, (Bar(0.0, 1.0, Paint.TOOL, bad),), (TimelineMark(0.2, Sign.ERROR, bad),)),))
    text = printed(Waterfall(bad, bad, ((bad, bad),), (panel,), (NotableMoment(0.1, bad),), (bad,)))
    assert not {"\x1b", "\x07", "\u202e"} & set(text)
    assert "[bold red]x[/]" in text
