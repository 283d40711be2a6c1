"""A call's page: one name for one thing, and nothing live about a call that is over."""

from contextlib import suppress

import httpx2

from service.page.attention import reasons
from telemetry.calls.call import Call
from telemetry.recent.search import CallQuery
from telemetry.semconv.attributes import OTHER, CallId, EndReason, UnansweredReason
from tests.service.gateway.harness import GatewayHarness
from tests.service.page.browsing import Page, shown


def talking(harness: GatewayHarness, name: str) -> Call:
    """A call under way."""
    call = harness.container.telemetry.tracker.received(
        name, "tenant-001", caller="+14155550123", dialled="+18005550000"
    )
    call.accepted()
    call.started()
    return call


def failed_tool(call: Call, tool: str) -> None:
    """A tool call that fails."""
    with suppress(TimeoutError), call.tool(tool, f"call_{tool}"):
        raise TimeoutError


async def test_a_tool_nobody_knows_has_one_name(harness: GatewayHarness, person: httpx2.AsyncClient) -> None:
    """In the sentence, the picture, the table and the list of calls that need attention."""
    call = talking(harness, "rtc_tool")
    failed_tool(call, OTHER)
    call.finish(EndReason.HANGUP)
    page = await shown(person, "/calls/rtc_tool")
    assert "unknown tool" in page.text(id="call-head")
    assert "unknown tool" in page.text(id="call-timeline")
    assert "Unknown tool" in page.texts("th", "call-turns")
    for part in ("call-head", "call-timeline", "call-turns"):
        assert OTHER not in page.text(id=part), part
    (summary,) = harness.container.telemetry.recent.search(CallQuery()).calls
    assert [text for _, text in reasons(summary)] == ["unknown tool failed"]


async def test_one_turn_is_no_turns(harness: GatewayHarness, person: httpx2.AsyncClient) -> None:
    """Counts agree with their nouns."""
    for name, tools, said in (
        ("rtc_0", (), "0 tool calls"),
        ("rtc_1", ("a",), "1 tool call"),
        ("rtc_2", "ab", "2 tool calls"),
    ):
        call = talking(harness, name)
        for tool in tools:
            failed_tool(call, tool)
        page = await shown(person, f"/calls/{name}")
        assert page.text(id="h-call-turns") == f"Turns and tools 0 turns, {said}"


async def test_no_other_errors_is_not_no_errors(harness: GatewayHarness, person: httpx2.AsyncClient) -> None:
    """Below a failed tool nothing says that there was no error."""
    call = talking(harness, "rtc_tool")
    assert page_errors(await shown(person, "/calls/rtc_tool")).endswith("None.")
    failed_tool(call, "lookup")
    said = page_errors(await shown(person, "/calls/rtc_tool"))
    assert said.startswith("Other errors 0, of the session, the instructions and the call's states")
    assert said.endswith("None besides 1 failed tool call, which stands with turns and tools.")
    call.session_error("rate_limit_exceeded")
    assert "reported by the carrier: rate_limit_exceeded" in page_errors(await shown(person, "/calls/rtc_tool"))


def page_errors(page: Page) -> str:
    """The card of errors."""
    return page.text(id="call-errors")


async def test_a_call_that_is_over_is_not_live(harness: GatewayHarness, person: httpx2.AsyncClient) -> None:
    """No stream, no word of one, nothing to pause, no reloading; while it runs there is all of that."""
    call = talking(harness, "rtc_1")
    running = (await person.get("/calls/rtc_1")).text
    assert all(part in running for part in ("data-stream", 'id="state"', 'id="pause"', 'http-equiv="refresh"'))
    assert "data-over" not in running
    call.finish(EndReason.HANGUP)
    for path in ("/calls/rtc_1", "/calls/rtc_1?paused=1"):
        over = (await person.get(path)).text
        assert not [p for p in ("data-stream", 'id="state"', 'id="pause"', 'http-equiv="refresh"') if p in over], path
        assert "data-over" in over
    assert (await person.get("/calls/rtc_9")).status_code == 404


async def test_the_link_to_the_picture_says_what_it_is(harness: GatewayHarness, person: httpx2.AsyncClient) -> None:
    """An SVG file of the timeline."""
    talking(harness, "rtc_1")
    page = await shown(person, "/calls/rtc_1")
    (link,) = [one for one in page.blocks if (one["attributes"].get("href") or "").endswith("timeline.svg")]
    assert link["text"] == "Timeline as a picture (SVG)"
    assert (await person.get(link["attributes"]["href"])).headers["content-type"].startswith("image/svg+xml")


async def test_an_unanswered_call_is_not_still_to_come(harness: GatewayHarness, person: httpx2.AsyncClient) -> None:
    """It is over: nothing says that it has not started yet, or is not decided upon yet, in memory or on record."""
    tracker = harness.container.telemetry.tracker
    call = tracker.received("rtc_1", "tenant-001", caller="+14155550123", dialled="+18005550000")
    waiting = (await shown(person, "/calls/rtc_1")).text(id="call-facts")
    assert all(said in waiting for said in ("it has not started", "not yet decided upon", "it is not over"))
    call.unanswered(UnansweredReason.CANCELED)
    assert await harness.container.records.flush(60)
    for place in ("memory", "record"):
        page = await shown(person, "/calls/rtc_1")
        facts = page.text(id="call-facts")
        assert "Outcome not answered: caller gave up" in facts, place
        assert "(it never started)" in facts, place
        assert "(it was over before it was decided upon)" in facts, place
        assert not [said for said in ("not yet", "has not started", "not over") if said in facts], place
        assert ("only its record is left" in page.text(id="call-head")) is (place == "record")
        recent = harness.container.telemetry.recent
        with recent._lock:
            if CallId("rtc_1") in recent._calls:
                recent._forget(recent._calls.pop(CallId("rtc_1")))
