"""The picture: well-formed, self-explaining, and safe whatever the call is called."""

import re
from collections.abc import Callable
from dataclasses import replace
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.timeline.serializer import NO_BACKEND, call_detail
from service.timeline.svg import WIDTH, element, render_svg, text_of, titled
from service.timeline.timeline import Bar, NotableMoment, Paint, Panel, Sign, TimelineMark, Track, Waterfall, waterfall
from telemetry.calls.call import Call
from telemetry.testing import TelemetryKit
from tests.support import calls

SVG = "{http://www.w3.org/2000/svg}"

Play = Callable[[TelemetryKit], Call]


def picture(kit: TelemetryKit) -> ET.Element:
    record = kit.recent.call("rtc_1")
    assert record is not None
    return ET.fromstring(render_svg(waterfall(call_detail(record, NO_BACKEND))))  # noqa: S314 -- our own document


def words(root: ET.Element) -> list[str]:
    return [node.text or "" for node in root.iter(f"{SVG}text")]


@pytest.mark.parametrize("play", [calls.rejected, calls.at_once, calls.ordinary, calls.hour_long, calls.running])
def test_nothing_lies_outside_the_picture(kit: TelemetryKit, play: Play) -> None:
    """Every rectangle and line has its place inside the picture, and every text begins there."""
    play(kit)
    root = picture(kit)
    height = float(root.attrib["height"])
    for rect in root.iter(f"{SVG}rect"):
        x, width = float(rect.get("x", "0")), float(rect.attrib["width"])
        assert 0 <= x <= x + width <= WIDTH + 0.2
        assert 0 <= float(rect.get("y", "0")) + float(rect.attrib["height"]) <= height + 0.1
    for text in root.iter(f"{SVG}text"):
        assert 0 <= float(text.attrib["x"]) <= WIDTH
        assert 0 <= float(text.attrib["y"]) <= height


def test_it_has_a_title_and_a_description(kit: TelemetryKit) -> None:
    """Who cannot see the picture is told what is in it: the explanation, the facts and what stands out."""
    calls.ordinary(kit)
    root = picture(kit)
    assert (root.attrib["role"], root.attrib["aria-labelledby"]) == ("img", "title desc")
    title, description = root.find(f"{SVG}title"), root.find(f"{SVG}desc")
    assert title is not None
    assert description is not None
    assert title.text == "Call rtc_1"
    assert "it was handed to billing" in (description.text or "")
    assert "tool book_table failed: TimeoutError" in (description.text or "")


def test_the_reason_of_a_rejection_is_written_out(kit: TelemetryKit) -> None:
    """In the picture of a rejected call the whole sentence can be read."""
    calls.rejected(kit)
    written = " ".join(words(picture(kit)))
    assert "the tenant's limit of 10 was reached, with 10 in use." in written


def test_bars_say_what_they_are_when_pointed_at(kit: TelemetryKit) -> None:
    """A bar too short for its text has it all the same."""
    calls.hour_long(kit)
    titles = [node.text or "" for node in picture(kit).iter(f"{SVG}title")]
    assert any(re.fullmatch(r"turn 1: answer after [\d.]+ m?s", title) for title in titles)
    assert "instructions, 8.0 ms" in titles


def test_texts_of_marks_do_not_run_into_each_other() -> None:
    """A mark is named where there is room for its name before the next one, to its right or to its left."""
    marks = tuple(TimelineMark(at, Sign.STEP, "a state's name") for at in (0.0, 0.01, 0.02, 0.5, 0.99, 1.0))
    drawing = Waterfall("Call", "", (), (Panel("", 1.0, (Track("state", (), marks),)),), (), ())
    root = ET.fromstring(render_svg(drawing))  # noqa: S314 -- our own document
    named = [node for node in root.iter(f"{SVG}text") if node.text == "a state's name"]
    places = [(round(float(node.attrib["x"])), node.get("text-anchor", "start")) for node in named]
    assert places == [(178, "start"), (573, "start"), (960, "end")]
    assert len([node for node in root.iter(f"{SVG}line") if node.find(f"{SVG}title") is not None]) == len(marks)


def test_a_legend_explains_what_is_there_and_nothing_else(kit: TelemetryKit) -> None:
    """Only what occurs in the picture is explained below it."""
    calls.running(kit)
    legend = {"caller speaks", "agent speaks", "caller waits for the answer", "tool", "failed", "interruption", "error"}
    assert legend & set(words(picture(kit))) == {"caller speaks", "agent speaks", "caller waits for the answer"}


hostile = st.text() | st.sampled_from(["</svg><script>alert(1)</script>", "\x00\ud800", "]]>", "&lt;", "\" onload='x'"])


@given(hostile)
def test_whatever_a_call_is_called_the_picture_is_one(text: str) -> None:
    """Any text anywhere leaves a well-formed document with no element more than without it."""
    plain = _everywhere("x" * len(text))
    root = ET.fromstring(render_svg(_everywhere(text)))  # noqa: S314 -- that is what is tested
    tags = {node.tag for node in root.iter()}
    assert tags <= {node.tag for node in ET.fromstring(render_svg(plain)).iter()}  # noqa: S314 -- our own document
    assert not any(name.startswith("on") for node in root.iter() for name in node.attrib)


def _everywhere(text: str) -> Waterfall:
    bars = (Bar(0.0, 0.5, Paint.TOOL, text), Bar(0.5, 1.0, Paint.LEFT_OUT, text, open=True))
    marks = (
        TimelineMark(0.1, Sign.ERROR, text),
        TimelineMark(0.2, Sign.INTERRUPTION, text),
        TimelineMark(0.3, Sign.STEP, text),
    )
    panel = Panel(text, 1.0, (Track(text, bars, marks),), open=True)
    wide = replace(panel, tracks=(*panel.tracks, Track("wide", (Bar(0.0, 1.0, Paint.WAIT, "w"),))))
    return Waterfall(text, f"e {text}", ((text, text),), (panel, wide), (NotableMoment(0.1, text),), (f"n {text}",))


@given(st.text())
def test_text_survives_unless_xml_cannot_hold_it(text: str) -> None:
    """What XML can hold is read back as it was written; the rest is left out."""
    root = ET.fromstring(element("a", text_of(text) + element("b"), title=text))  # noqa: S314 -- our own document
    kept = re.sub("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]", "", text)
    # XML reads every end of a line as a line feed (XML 1.0 §2.11).
    assert (root.text or "") == kept.replace("\r\n", "\n").replace("\r", "\n")


def test_elements_are_written_short() -> None:
    """Numbers have one decimal at most, and attributes may be named after keywords."""
    assert element("rect", x=1.25, y=3.0, class_="a") == '<rect x="1.2" y="3" class="a"/>'
    assert titled("rect", "a < b", x=1) == '<rect x="1"><title>a &lt; b</title></rect>'
