"""A call's page: its timeline, what happened and why it ended, turn by turn, down to spans and log lines."""

import re
from dataclasses import replace
from typing import Final

from markupsafe import Markup

from service.page.facts import PageFacts
from service.page.rendering import render
from service.page.viewing import View
from service.timeline.detail import CallDetail
from service.timeline.svg import FONT_STYLE, render_svg
from service.timeline.timeline import waterfall
from telemetry.calls.lifecycle import TERMINAL

HEAD: Final = 58.0
"""Height of the picture's own head, which a page leaves out."""
FOOT: Final = 12.0
_VIEW: Final = re.compile(r'viewBox="0 0 (\d+) (\d+)" width="[\d.]+" height="[\d.]+"')
_STYLE: Final = f' style="{FONT_STYLE}"'


async def call_fragments(facts: PageFacts, view: View) -> dict[str, str]:
    """Return the fragments of a call's page.

    Raises:
        ProblemError: 404 if there is no such call for the view's access, 503 if that cannot be known now.
    """
    return await facts.parts.lookup.responded(
        view.subject or "", view.access, lambda detail: _fragments(detail, may_change=not view.access.read_only)
    )


def _fragments(call: CallDetail, *, may_change: bool) -> dict[str, str]:
    over = call.state in TERMINAL
    return {
        "call-head": render("call_head.html", call=call, over=over, may_hang_up=may_change and not over),
        "call-timeline": render("call_timeline.html", call=call, picture=drawn(call)),
        "call-facts": render("call_facts.html", call=call, over=over),
        "call-turns": render("call_turns.html", call=call),
        "call-errors": render("call_errors.html", call=call),
        "call-logs": render("call_logs.html", call=call),
        "call-spans": render("call_spans.html", call=call),
    }


def drawn(call: CallDetail) -> Markup:
    """Return the picture of a call as a part of a page: without styles of its own, which the page's policy forbids."""
    bare = replace(waterfall(call), explanation="", facts=())  # the page says these itself
    # The renderer has escaped every text.
    return Markup(_VIEW.sub(_cropped, render_svg(bare).replace(_STYLE, "", 1), count=1))  # noqa: S704


def _cropped(view: re.Match[str]) -> str:
    """Return the picture's view without the head, which is the page's."""
    width, height = float(view[1]), float(view[2])
    return f'viewBox="0 {HEAD:g} {width:g} {height - HEAD - FOOT:g}"'
