"""Pages and JSON say the same, and whatever anybody calls anything shows as text."""

import re
from dataclasses import fields

import httpx2
import pytest

from service.page.rendering import apart, static
from service.records.calls import RecordsHealth
from service.simulator.script import AgentGreets, AgentSpeaks, CallerSpeaks, CallScript
from service.timeline.explain import span_of_time
from telemetry.calls.call import Call
from telemetry.semconv.attributes import EndReason
from tests.service.gateway.harness import GatewayHarness
from tests.service.page.browsing import Page, SignedIn, shown
from tests.service.page.comparing import first_page_compared, tenants_page_compared

HOSTILE = (
    "<img src=x onerror=alert(1)>",
    "'\"><script>alert(1)</script>",
    "{{ 7 * 7 }}{% raw %}",
    "\u202emoc.elgoog\u202c",
    "\u2069\u202eout of it\u2066",
    "&lt;b&gt;",
    "x" * 200,
    "half \ud800 pair",
)
DIRECTION = set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
ISOLATES = set("\u2066\u2067\u2068\u2069")
TALK = CallScript("talk", (AgentGreets(AgentSpeaks("Hello.")), CallerSpeaks("How are you?"), AgentSpeaks("Fine.")))


async def traffic(harness: GatewayHarness) -> None:
    """Some calls of each tenant, one of which fails."""
    for number_ in harness.carrier.numbers:
        for _ in range(2):
            await harness.call(TALK, number=number_)
    await harness.call(CallScript("nobody"), number="+12125550199")


async def test_the_first_page_says_what_the_api_says(harness: GatewayHarness, person: httpx2.AsyncClient) -> None:
    """Field by field: the twelve numbers, the strip, each verdict, each running call, each tenant's figures."""
    await traffic(harness)
    assert await first_page_compared(harness, person) == 3


async def test_a_tenants_page_says_what_the_api_says(harness: GatewayHarness, person: httpx2.AsyncClient) -> None:
    """Its counts, limit, numbers, usage and changes."""
    await traffic(harness)
    page = await tenants_page_compared(harness, person, "tenant-001")
    tenant = await harness.get("/api/v1/tenants/tenant-001")
    settings = page.text(id="settings")
    assert ", ".join(tenant["numbers"]) in settings
    assert "100 (the general limit)" in settings
    changes = (await harness.get("/api/v1/tenants/tenant-001/audit"))["changes"]
    assert all(change["actor"] in page.text(id="changes") for change in changes)
    assert "Calls 2" in page.text(id="usage")


async def test_a_calls_page_says_what_the_api_says(harness: GatewayHarness, person: httpx2.AsyncClient) -> None:
    """Explanation, facts, turns, spans and log lines; the picture is in it, without styles of its own."""
    report = await harness.call(TALK)
    page = await shown(person, f"/calls/{report.call_id}")
    call = await harness.get(f"/api/v1/calls/{report.call_id}")
    assert call["explanation"] in page.text(id="call-head")
    facts = page.text(id="call-facts")
    assert f"Longest wait {span_of_time(call['longest_wait_seconds'])}" in facts
    assert f"Turns {call['turn_count']}" in facts
    assert call["trace"]["trace_id"] in facts
    assert [f"Turn {turn['number']}" for turn in call["turns"]] == [
        text for text in page.texts("th", "call-turns") if text.startswith("Turn ")
    ]
    assert all(line["message"] in page.text(id="call-logs") for line in call["logs"])
    spans = page.text(id="call-spans")
    assert all(span["name"] in spans for span in call["trace"]["spans"])
    assert any(tag == "svg" for tag, _ in page.elements)


async def test_a_call_of_yesterday_says_what_was_not_kept(harness: GatewayHarness, person: httpx2.AsyncClient) -> None:
    """Of one that is on record only, what is missing is said instead of shown as nothing."""
    report = await harness.call(TALK)
    recent = harness.container.telemetry.recent
    with recent._lock:
        recent._forget(recent._calls.pop(report.call_id))  # type: ignore[call-overload]
    page = await shown(person, f"/calls/{report.call_id}")
    assert "only its record is left" in page.text(id="call-head")
    assert "Not kept on record." in page.text(id="call-turns")


def played(harness: GatewayHarness, name: str) -> Call:
    """A call that has the name wherever a name can be, and has failed."""
    tracker = harness.container.telemetry.tracker
    call = tracker.received(name, "tenant-001", caller="+14155550123", dialled="+18005550000")
    call.accepted()
    call.started()
    call.session_error(name)
    with call.tool(name, name):
        pass
    call.finish(EndReason.ERROR, error_type=name)
    return call


@pytest.mark.parametrize("name", HOSTILE, ids=[ascii(name[:12]) for name in HOSTILE])
async def test_a_hostile_name_shows_as_text(harness: GatewayHarness, person: httpx2.AsyncClient, name: str) -> None:
    """As a call's id, a tool, an error, and a tenant's name: on every page that shows it, no element comes of it."""
    played(harness, name)
    await harness.client.patch(
        "/api/v1/tenants/tenant-001", json={"name": name.replace("\ud800", "")}, headers={"If-Match": "*"}
    )
    plain = {tag for tag, _ in (await shown(person, "/system")).elements}
    listed = await shown(person, "/search")
    link = next(href for href in listed.links() if href.startswith("/calls/"))
    # Half a surrogate pair has no form in an address: such a call is listed, and cannot be asked for.
    own = [] if "\ud800" in name else [link]
    for path in ("/", "/tenants/tenant-001", "/search", *own):
        answer = await person.get(path)
        assert answer.status_code == 200, path
        page = Page.of(answer.text)
        tags = {tag for tag, _ in page.elements}
        assert "script" not in tags - plain
        images = {attributes.get("src") for tag, attributes in page.elements if tag == "img"}
        assert images <= {static("icon.svg")}, path
        assert not [a for _, a in page.elements if any(key.startswith("on") for key in a)], path
        for block in page.blocks:
            # A mark of direction stands in an element that keeps it to itself, or is spelled out.
            open_to_it = ISOLATES if block["tag"] == "bdi" else DIRECTION
            assert not set(block["own"]) & open_to_it, (path, block)
            assert not set("".join(map(str, block["attributes"].values()))) & DIRECTION, (path, block)
    shown_id = apart(name.encode("utf-8", "backslashreplace").decode()).striptags()
    assert " ".join(shown_id.split()) in listed.text(id="main")
    for path in own:
        assert " ".join(shown_id.split()) in (await shown(person, path)).text(id="call-head")


async def test_search_finds_in_memory_and_on_record(harness: GatewayHarness, person: httpx2.AsyncClient) -> None:
    """By tenant and outcome in both; what records do not keep is refused by name; a trace leads to its call."""
    await traffic(harness)
    found = await harness.get("/api/v1/calls?tenant_id=tenant-001")
    page = await shown(person, "/search?tenant_id=tenant-001")
    assert [href for href in page.links() if href.startswith("/calls/")] == [
        f"/calls/{call['call_id']}" for call in found["calls"]
    ]
    await harness.container.records.stop(5)
    recorded = await shown(person, "/search?tenant_id=tenant-001&where=records")
    assert len([href for href in recorded.links() if href.startswith("/calls/")]) == len(found["calls"])
    refused = await person.get("/search?where=records&slower_than=2")
    assert (refused.status_code, "slower_than" in refused.text) == (422, True)
    trace = found["calls"][0]["trace_id"]
    answer = await person.get(f"/search?trace_id={trace}")
    assert answer.headers["location"] == f"/calls/{found['calls'][0]['call_id']}"
    assert "No call fits" in (await person.get("/search?tenant_id=nobody")).text


async def test_settings_show_no_secret(harness: GatewayHarness, person: httpx2.AsyncClient) -> None:
    """The page about the service names what is set and shows nothing that opens a door."""
    text = (await person.get("/system")).text
    settings = harness.container.settings
    secrets = [*settings.admin_tokens, *settings.webhook_secrets, settings.database_url.get_secret_value(), "simulated"]
    assert "ADMIN_TOKEN" in text
    assert not [secret for secret in secrets if secret in text]


async def test_every_figure_of_the_service_is_explained(harness: GatewayHarness, person: httpx2.AsyncClient) -> None:
    """Each in a few words; an error has its time, and its absence is said."""
    page = await shown(person, "/system")
    names = page.texts("dt", "records")
    kept = {field.name.replace("_", " ") for field in fields(RecordsHealth)} - {"last error seconds"}
    assert {name.lower() for name in names} >= {name.removesuffix(" seconds") for name in kept}
    explained = page.texts("small", "records")
    assert len(explained) == len(names)
    assert all(explained)
    assert "there was none" in page.text(id="records")
    await harness.break_table("call_records")
    harness.container.telemetry.tracker.received("rtc_1", "tenant-001")
    await harness.until(lambda: harness.container.records.health().last_error is not None, "no failure was noted")
    health = harness.container.records.health()
    assert health.last_error_seconds is not None
    assert health.last_error_seconds < 60
    said = (await shown(person, "/system")).text(id="records")
    assert re.search(rf"Last error {health.last_error}, [0-9.]+ m?s ago the kind of the last failure", said), said


async def test_an_unknown_tenant_is_not_there(person: httpx2.AsyncClient, visit: SignedIn) -> None:
    """A page of its own says so; a token of other tenants does not learn it."""
    assert (await person.get("/tenants/nobody")).status_code == 404
    async with visit("one") as client:
        assert (await client.get("/tenants/nobody")).status_code == 403


async def test_with_the_database_away_pages_stay(harness: GatewayHarness, person: httpx2.AsyncClient) -> None:
    """What comes from memory is shown, and what does not is said to be away."""
    await traffic(harness)
    for table in ("tenants", "tenant_audit"):
        await harness.break_table(table)
    page = await shown(person, "/tenants/tenant-001")
    assert "The database is away" in page.text(id="settings")
    assert (await person.get("/")).status_code == 200
