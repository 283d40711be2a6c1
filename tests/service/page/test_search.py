"""The search's form: it shows all it was asked, and says in its own words what it cannot answer."""

import httpx2
import pytest

from service.page.search_form import FIELDS, RECORDED
from service.page.search_view import CALLS_LISTED
from service.simulator.script import AgentSpeaks, CallerSpeaks, CallScript
from telemetry.semconv.attributes import RejectionReason
from tests.service.gateway.harness import GatewayHarness
from tests.service.page.browsing import Page, SignedIn, shown

TALK = CallScript("talk", (CallerSpeaks("How are you?"), AgentSpeaks("Fine.")))

GIVEN = {
    "tenant_id": "tenant-001",
    "outcome": "failed",
    "state": "over",
    "reason": "capacity",
    "flag": "tool_failed",
    "slower_than": "2.5",
    "caller_ends_with": "5678",
    "since": "2026-11-22T14:00:00",
    "until": "2026-11-22T15:00:00",
    "caller_hash": "c797d50ec17bf310",
    "fault": "agent",
    "direction": "inbound",
    "source": "direct",
    "error_type": "SessionLost",
    "failed_tool": "_other",
    "silent_longer_than": "10",
    "interrupted": "true",
    "talked_over": "false",
}
"""A value of every field but the trace's id, which leads to a call instead of a list."""


def calls_in(page: Page) -> list[str]:
    """The calls a page lists."""
    return [href.removeprefix("/calls/") for href in page.links() if href.startswith("/calls/")]


def filled(page: Page) -> dict[str, str]:
    """What the form would send again."""
    sent, select = {}, ""
    for tag, attributes in page.elements:
        if tag == "select":
            select = attributes["name"] or ""
        elif tag == "option" and "selected" in attributes:
            text = next(b["text"] for b in page.blocks if b["attributes"] is attributes)
            sent[select] = attributes.get("value", text) or ""
        elif tag == "input" and (attributes["type"] != "radio" or "checked" in attributes):
            sent[attributes["name"] or ""] = attributes["value"] or ""
    return {name: value for name, value in sent.items() if value}


async def refused(client: httpx2.AsyncClient, query: str, status: int = 422) -> tuple[Page, str]:
    """The form that says what is wrong, which lists nothing and still leads everywhere; and what it says."""
    answer = await client.get(f"/search?{query}")
    assert answer.status_code == status, answer.text
    page = Page.of(answer.text)
    assert "/system" in page.links()
    assert not calls_in(page)
    assert "No call fits" not in answer.text
    return page, page.text(id="wrong")


async def test_the_form_shows_all_it_was_asked(reader: httpx2.AsyncClient) -> None:
    """Whatever filters has a field that holds it, so that another search does not drop it."""
    assert GIVEN.keys() | {"trace_id"} == {field.name for field in FIELDS}
    for name, value in GIVEN.items():
        page = await shown(reader, f"/search?{name}={value}")
        assert filled(page) == {name: value, "where": "memory"}
        folded = next(field.lesser for field in FIELDS if field.name == name)
        assert [("open" in attributes) for tag, attributes in page.elements if tag == "details"] == [folded], name
    everything = await reader.get("/search", params=GIVEN)
    assert filled(Page.of(everything.text)) == GIVEN | {"where": "memory"}
    with_zone = await shown(reader, "/search?since=2026-11-22T15:00:00%2B01:00")
    assert filled(with_zone)["since"] == "2026-11-22T14:00:00"


async def test_a_page_of_older_calls_keeps_the_conditions(harness: GatewayHarness, person: httpx2.AsyncClient) -> None:
    """The link to earlier calls asks the same, in memory and on record."""
    tracker = harness.container.telemetry.tracker
    for number in range(CALLS_LISTED + 2):
        tracker.received(f"rtc_{number}", "tenant-001").rejected(RejectionReason.CAPACITY)
    tracker.received("rtc_fine", "tenant-001")
    await harness.container.records.stop(5)
    for where in ("memory", "records"):
        first = await shown(person, f"/search?reason=capacity&direction=inbound&where={where}")
        (link,) = [href for href in first.links() if "cursor=" in href]
        second = await shown(person, link)
        assert (len(calls_in(first)), len(calls_in(second))) == (CALLS_LISTED, 2)
        assert filled(second) == {"reason": "capacity", "direction": "inbound", "where": where}


async def test_records_are_searched_by_all_they_keep(harness: GatewayHarness, person: httpx2.AsyncClient) -> None:
    """The page lists what the API has on record for the same question; a condition that is wrong finds nothing."""
    tracker = harness.container.telemetry.tracker
    full = tracker.received("rtc_full", "tenant-001", caller="+14155555678", dialled="+18005550000")
    full.rejected(RejectionReason.CAPACITY)
    report = await harness.call(TALK)
    await harness.container.records.stop(5)
    everything = (await harness.get("/api/v1/call-records"))["calls"]
    assert {call["call_id"] for call in everything} == {"rtc_full", report.call_id}
    for call in everything:
        own = {name: call[name] for name in ("tenant_id", "outcome", "reason", "fault", "direction", "source")}
        own |= {"caller_hash": call["caller_hash"], "caller_ends_with": (call["caller"] or "")[-4:]}
        own |= {"since": call["received_at"]}
        for name, value in own.items():
            if value:
                expected = (await harness.get(f"/api/v1/call-records?{name}={value}"))["calls"]
                page = await shown(person, f"/search?where=records&{name}={value}")
                assert calls_in(page) == [one["call_id"] for one in expected] != [], (name, value)
    capacity = await shown(person, "/search?where=records&reason=capacity")
    assert calls_in(capacity) == ["rtc_full"]
    assert calls_in(await shown(person, "/search?where=records&source=nobody")) == []
    assert calls_in(await shown(person, "/search?where=records&error_type=SessionLost")) == []


@pytest.mark.parametrize("field", [f for f in FIELDS if not f.kept and f.name in GIVEN], ids=lambda field: field.name)
async def test_what_records_do_not_keep_is_named(reader: httpx2.AsyncClient, field: object) -> None:
    """By the field's label, in the form as it was sent."""
    name, label = field.name, field.label  # type: ignore[attr-defined]
    page, said = await refused(reader, f"where=records&outcome=failed&{name}={GIVEN[name]}")
    assert f"{label}: is not kept on record; search in memory for it" in said
    assert filled(page) == {"outcome": "failed", name: GIVEN[name], "where": "records"}
    assert name not in RECORDED


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("slower_than=abc", "Waited longer than (s): must be a number of seconds from 0, such as 2.5"),
        ("slower_than=-1", "Waited longer than (s): must be a number of seconds from 0, such as 2.5"),
        ("trace_id=xyz", "Trace id: must be 32 characters from 0 to 9 and a to f"),
        ("reason=tired", "Reason: must be one of the choices"),
        ("since=yesterday", "Received since (UTC): must be a date and a time, such as 2026-11-22T14:00:00"),
        ("caller_ends_with=12345", "Caller's last digits: must be one to four digits"),
        ("interrupted=perhaps", "Caller interrupted: must be yes or no"),
        ("flag=<b>", "Needs attention for: must be one of the choices"),
    ],
)
async def test_a_malformed_value_is_named(reader: httpx2.AsyncClient, query: str, said: str) -> None:
    """By the field's label, with the value still there to mend."""
    page, text = await refused(reader, query)
    assert said in text
    name, _, value = query.partition("=")
    assert filled(page)[name] == value
    assert [a["name"] for _, a in page.elements if a.get("aria-invalid")] == [name]


async def test_a_name_that_is_no_field_is_refused(reader: httpx2.AsyncClient) -> None:
    """Whatever is misspelled must not list everything; it is named beside what else is wrong."""
    assert "outcom: is no field of the search" in (await refused(reader, "outcom=rejected"))[1]
    both = (await refused(reader, "outcom=rejected&slower_than=abc"))[1]
    assert "outcom: is no field" in both
    assert "Waited longer than (s): must be" in both
    assert "<i>: is no field" in (await refused(reader, "%3Ci%3E=1"))[1]


async def test_other_refusals_stand_in_the_form_too(
    harness: GatewayHarness, person: httpx2.AsyncClient, visit: SignedIn
) -> None:
    """A window the wrong way round, a cursor of nowhere, a trace of no call, a database that is away."""
    assert (
        "Received before (UTC): must not be before"
        in (await refused(person, "since=2026-11-22T14:00:00&until=2026-11-22T13:00:00"))[1]
    )
    assert "Place in the list: is not the cursor" in (await refused(person, "cursor=nowhere"))[1]
    assert "There is no call with this trace" in (await refused(person, f"trace_id={'0' * 32}", 404))[1]
    async with visit("one") as bound:
        answer = await bound.get("/search?outcom=rejected&tenant_id=tenant-001")
        assert (answer.status_code, "outcom" in answer.text) == (422, True)
    await harness.break_table("call_records")
    assert "database" in (await refused(person, "where=records", 503))[1].lower()


async def test_a_trace_on_record_leads_to_its_call(harness: GatewayHarness, person: httpx2.AsyncClient) -> None:
    """Of a call no process remembers any more, too."""
    report = await harness.call(TALK)
    trace = (await harness.get(f"/api/v1/calls/{report.call_id}"))["trace"]["trace_id"]
    await harness.container.records.stop(5)
    recent = harness.container.telemetry.recent
    with recent._lock:
        recent._forget(recent._calls.pop(report.call_id))  # type: ignore[call-overload]
    answer = await person.get(f"/search?trace_id={trace}&where=records")
    assert (answer.status_code, answer.headers["location"]) == (303, f"/calls/{report.call_id}")
