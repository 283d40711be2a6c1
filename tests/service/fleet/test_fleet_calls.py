"""Calls of a fleet over HTTP: whichever process is asked, whatever the others do, the answer says what it covers."""

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from service.api import fleet_calls
from service.fleet import mail
from service.simulator.faults import CallFaults, Refuse
from service.simulator.script import AgentGreets, AgentSpeaks, CallerSpeaks, CallScript
from telemetry.calls.lifecycle import CallState
from telemetry.semconv.attributes import EndReason
from tests.peers.peers import Peers
from tests.service.fleet.pair import (
    BOUND,
    OTHER,
    READS,
    SHORT,
    TALK,
    Pair,
    pair,
    plain,
    published,
    token,
)
from tests.service.gateway.harness import TOKEN, GatewayHarness, fresh_id, running_harness
from tests.service.page.browsing import SAME
from tests.service.page.comparing import first_page_compared, tenants_page_compared
from tests.support.patience import PATIENT_SECONDS

pytestmark = pytest.mark.peers

CALLS = "/api/v1/calls"
ANSWERED = CallScript("answered", (AgentGreets(AgentSpeaks("Hello.")), CallerSpeaks("Hi."), AgentSpeaks("Yes?")))
LIVE = "/api/v1/metrics/live/"


@pytest.fixture
async def both(tmp_path: Path, store_url: str) -> AsyncIterator[Pair]:
    """Two services of a fleet."""
    async with pair(tmp_path, store_url) as opened:
        yield opened


def mailbox(harness: GatewayHarness) -> mail.Mailbox:
    assert harness.container.mailbox is not None
    return harness.container.mailbox


async def ids(harness: GatewayHarness, query: str = "") -> list[str]:
    """The calls that a list or a search finds."""
    return [call["call_id"] for call in plain(await harness.client.get(f"{CALLS}{query}"))["calls"]]


async def over(both: Pair, of: GatewayHarness) -> str:
    """A call of this service, from its beginning to its end."""
    call_id = fresh_id()
    both.carrier.target = str(of.client.base_url)
    await of.call(SHORT, call_id=call_id)
    return call_id


async def test_running_calls_are_listed_alike(both: Pair) -> None:
    """Both list the calls of both, in the order they were received, and say that both answered."""
    calls = [await both.talking(both.first), await both.talking(both.second), await both.talking(both.first)]
    for harness in (both.first, both.second):
        answer = await harness.client.get(CALLS)
        assert [(call["call_id"], call["status"]) for call in plain(answer)["calls"]] == [
            (call_id, "RUNNING") for call_id in calls
        ]
        assert (answer.headers["X-Calls-Scope"], answer.headers["X-Calls-Processes"]) == ("fleet", "2/2")
        assert "X-Calls-Silent" not in answer.headers
    assert await ids(both.second, "?scope=fleet") == calls
    assert await ids(both.second, "?scope=process") == [calls[1]]
    alone = await both.second.client.get(f"{CALLS}?scope=process")
    assert not [name for name in alone.headers if name.startswith("x-calls")]
    await both.over()


async def test_one_call_is_told_alike(both: Pair) -> None:
    """A call that is over is the same document and the same picture from both, by its id and by its trace's."""
    call_id = await over(both, both.first)
    path = f"{CALLS}/{call_id}"
    told, elsewhere = [await harness.client.get(path) for harness in (both.first, both.second)]
    assert plain(told) == plain(elsewhere)
    assert plain(told)["from_record"] is False
    assert elsewhere.headers["X-Calls-Process"] == both.first.container.instance_id
    trace = f"/api/v1/traces/{plain(told)['trace']['trace_id']}"
    assert plain(await both.second.client.get(trace)) == plain(told)
    pictures = [await harness.client.get(f"{path}/timeline.svg") for harness in (both.first, both.second)]
    assert pictures[0].text == pictures[1].text
    assert pictures[1].headers["content-security-policy"] == pictures[0].headers["content-security-policy"]
    assert plain(await both.second.client.get(f"{path}?scope=process"))["from_record"] is True
    unknown = await both.second.client.get(f"{CALLS}/rtc_0")
    assert (unknown.status_code, unknown.headers.get("X-Calls-Silent")) == (404, None)


async def test_a_running_call_grows_from_any_process(both: Pair) -> None:
    """Told by the process that has it: with its turns, tools and open spans, which no record has."""
    call_id = await both.talking()
    call = plain(await both.second.client.get(f"{CALLS}/{call_id}"))
    assert (call["state"], call["from_record"]) == ("started", False)
    assert [span for span in call["trace"]["spans"] if span["open"]]
    await both.over()


async def test_a_search_goes_through_the_calls_of_all(both: Pair) -> None:
    """Pages of one, from either process, show each call once, the latest first; a cursor is the fleet's."""
    calls = [await over(both, harness) for harness in (both.first, both.second, both.first, both.second, both.second)]
    for harness in (both.first, both.second):
        found, cursor = [], ""
        while True:
            page = plain(await harness.client.get(f"{CALLS}?limit=1{cursor}"))
            found += [call["call_id"] for call in page["calls"]]
            if page["next_cursor"] is None:
                break
            cursor = f"&cursor={page['next_cursor']}"
        assert found == calls[::-1]
    assert await ids(both.first, "?state=over&outcome=hangup") == calls[::-1]
    assert await ids(both.first, "?state=running") == []
    assert len(await ids(both.first, "?limit=5&scope=process")) == 2
    wrong = await both.first.client.get(f"{CALLS}?cursor=W10")
    assert (wrong.status_code, wrong.json()["errors"][0]["field"]) == (422, "query.cursor")


async def test_a_tenant_that_another_process_saw_is_known(both: Pair) -> None:
    """Configured no more, it is asked about at any process: its calls are found, a misspelt one is 404."""
    call_id = await over(both, both.first)
    assert await both.first.container.records.flush(PATIENT_SECONDS)
    tenant_id = plain(await both.first.client.get(f"{CALLS}/{call_id}"))["tenant_id"]
    deleted = await both.first.client.delete(f"/api/v1/tenants/{tenant_id}", headers={"If-Match": "*"})
    assert deleted.status_code == 204
    assert await ids(both.second, f"?tenant_id={tenant_id}") == [call_id]
    for path in (f"{CALLS}?tenant_id=", "/api/v1/call-records?tenant_id=", "/api/v1/overview?tenant_id=", LIVE):
        answers = [await both.second.client.get(f"{path}{name}") for name in (tenant_id, f"{tenant_id}x")]
        assert [answer.status_code for answer in answers] == [200, 404], path


@pytest.mark.parametrize("which", ["first", "second"])
async def test_tokens_open_what_they_are_bound_to_everywhere(both: Pair, which: str) -> None:
    """A call of a tenant is there for its tokens and for nobody else's, whichever process holds it or is asked."""
    call_id, asked = await both.talking(), getattr(both, which)
    detail = plain(await asked.client.get(f"{CALLS}/{call_id}"))
    routes = {
        "GET": [
            f"{CALLS}/{call_id}",
            f"{CALLS}/{call_id}/timeline.svg",
            f"/api/v1/traces/{detail['trace']['trace_id']}",
        ],
        "POST": [f"{CALLS}/{call_id}/hang-up"],
    }
    for method, paths in routes.items():
        for path in paths:
            refused = await asked.client.request(method, path, headers=token(OTHER))
            assert (path, refused.status_code) == (path, 404)
            assert call_id not in refused.json()["detail"]
            assert (await asked.client.request(method, path, headers=token("wrong"))).status_code == 401
    for path in routes["GET"]:
        assert (await asked.client.get(path, headers=token(BOUND))).status_code == 200
        assert (await asked.client.get(path, headers=token(READS))).status_code == 200
    assert (await asked.client.post(routes["POST"][0], headers=token(READS))).status_code == 403
    assert (await asked.client.get(CALLS, headers=token(BOUND))).status_code == 403
    of_other = await asked.client.get(f"{CALLS}?tenant_id=tenant-001", headers=token(OTHER))
    assert of_other.status_code == 403
    nothing = plain(await asked.client.get(f"{CALLS}?tenant_id=tenant-002", headers=token(OTHER)))
    assert nothing["calls"] == []
    own = plain(await asked.client.get(f"{CALLS}?tenant_id=tenant-001", headers=token(BOUND)))
    assert [call["call_id"] for call in own["calls"]] == [call_id]
    assert state(both.first, call_id) is CallState.STARTED
    assert (await asked.client.post(routes["POST"][0], headers=token(BOUND))).status_code == 204
    await both.over()


def state(harness: GatewayHarness, call_id: str) -> CallState:
    return harness.container.telemetry.tracker.call(call_id).state


async def test_strangers_cost_nothing(both: Pair) -> None:
    """Nobody is asked anything for a request without a token that opens something."""
    before = mailbox(both.second).counts.asked
    for path in (CALLS, f"{CALLS}/rtc_0", f"{CALLS}?limit=1", "/api/v1/traces/" + "0" * 31 + "1"):
        assert (await both.second.client.get(path, headers=token("wrong"))).status_code in (401, 429)
    assert (await both.second.client.get(f"{CALLS}?tennant=x")).status_code == 422
    assert mailbox(both.second).counts.asked == before
    await both.second.client.get(CALLS)
    assert mailbox(both.second).counts.asked == before + 1


async def silenced(both: Pair) -> str:
    """A call of the first, on record, which the first then does not tell of any more; the second has seen the first."""
    call_id = await both.talking()
    assert await ids(both.second, "?scope=fleet") == [call_id]
    assert await both.first.container.records.flush(PATIENT_SECONDS)
    await mailbox(both.first).stop()
    mailbox(both.second).answer_seconds = 0.05
    return call_id


async def test_a_process_that_does_not_answer(both: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is on record of its calls stands in, the answer names it, and whoever wants the whole fleet is told no."""
    monkeypatch.setattr(fleet_calls, "HANG_UP_SECONDS", 0.05)
    call_id, first = await silenced(both), both.first.container.instance_id
    own = await both.talking(both.second)
    listed = await both.second.client.get(CALLS)
    assert [call["call_id"] for call in plain(listed)["calls"]] == [call_id, own]
    assert {name: listed.headers[f"X-Calls-{name}"] for name in ("Processes", "Silent", "From-Record")} == {
        "Processes": "1/2",
        "Silent": first,
        "From-Record": "1",
    }
    found = await both.second.client.get(f"{CALLS}?state=started")
    assert [call["call_id"] for call in plain(found)["calls"]] == [own, call_id]
    assert plain(found)["calls"][1]["flags"] is None
    assert found.headers["X-Calls-Silent"] == first
    unsaid = await both.second.client.get(f"{CALLS}?interrupted=false")
    assert (await ids(both.second, "?interrupted=false"), unsaid.headers["X-Calls-From-Record"]) == ([own], "unknown")
    told = await both.second.client.get(f"{CALLS}/{call_id}")
    assert (plain(told)["from_record"], told.headers["X-Calls-Silent"]) == (True, first)
    assert "Another process has the call" in plain(told)["explanation"]
    for path in (CALLS, f"{CALLS}?limit=1", f"{CALLS}/{call_id}"):
        joint = "&" if "?" in path else "?"
        assert (await both.second.client.get(f"{path}{joint}scope=fleet")).status_code == 503
    refused = await both.second.client.post(f"{CALLS}/{call_id}/hang-up")
    assert (refused.status_code, first in refused.json()["detail"]) == (409, True)
    (entry,) = await audited(both.second)
    assert (entry["action"], entry["after"]) == ("hanging_up", {"call_id": call_id})
    await both.over()


async def test_a_silent_process_and_no_database(both: Pair) -> None:
    """What nobody tells is said to be missing: no list is an error, and none is silently shorter."""
    call_id = await silenced(both)
    await both.second.break_table("call_records")
    listed = await both.second.client.get(CALLS)
    assert (plain(listed)["calls"], listed.headers["X-Calls-From-Record"]) == ([], "unknown")
    assert plain(await both.second.client.get(f"{CALLS}?limit=5"))["calls"] == []
    assert (await both.second.client.get(f"{CALLS}/{call_id}")).status_code == 503
    assert (await both.second.client.post(f"{CALLS}/{call_id}/hang-up")).status_code == 503


async def test_without_the_database_processes_tell_of_their_calls(both: Pair) -> None:
    """Nobody can say whose a call is, so all are asked: it is told whole."""
    call_id = await both.talking()
    await both.second.break_table("call_records")
    assert plain(await both.second.client.get(f"{CALLS}/{call_id}"))["from_record"] is False
    assert await ids(both.second) == [call_id]


async def test_the_store_goes_away(tmp_path: Path, peers: Peers) -> None:
    """Lists and details stand on the records at once, and a hang-up says which process has the call."""
    store = peers.redis()
    async with pair(tmp_path, store.url) as both:
        call_id = await both.talking()
        assert await both.first.container.records.flush(PATIENT_SECONDS)
        await both.second.client.get(CALLS)
        store.kill()
        fleet = both.second.container.fleet
        assert fleet is not None
        await both.second.until(lambda: fleet.member.away, "the store to be missed")
        listed = await both.second.client.get(CALLS)
        assert [call["call_id"] for call in plain(listed)["calls"]] == [call_id]
        assert listed.headers["X-Calls-Processes"] == "1/2"
        assert plain(await both.second.client.get(f"{CALLS}/{call_id}"))["from_record"] is True
        refused = await both.second.client.post(f"{CALLS}/{call_id}/hang-up")
        assert (refused.status_code, both.first.container.instance_id in refused.json()["detail"]) == (409, True)
        (entry,) = await audited(both.second)
        assert (entry["action"], entry["after"]) == ("hang_up_failed", {"call_id": call_id, "error": "unreachable"})
        assert state(both.first, call_id) is CallState.STARTED
        await both.over()


async def test_what_is_too_much_is_said(both: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls beyond the number that one tells are counted as left out; one too large is as on record."""
    calls = [await both.talking() for _ in range(3)]
    monkeypatch.setattr(fleet_calls, "MAX_OPEN", 2)
    listed = await both.second.client.get(CALLS)
    assert [call["call_id"] for call in plain(listed)["calls"]] == calls[:2]
    assert listed.headers["X-Calls-Omitted"] == "1"
    assert (await both.second.client.get(f"{CALLS}?scope=fleet")).status_code == 503
    monkeypatch.setattr(mail, "MAX_LETTER", 1_000)
    told = await both.second.client.get(f"{CALLS}/{calls[0]}")
    assert plain(told)["from_record"] is True
    assert told.headers["X-Calls-Silent"] == both.first.container.instance_id
    await both.over()


async def test_an_answer_of_another_version(both: Pair) -> None:
    """One that this version cannot read is as good as none: the records stand in for it."""

    async def newer(_body: Any) -> Any:  # noqa: ANN401 -- whatever JSON has
        return {"calls": [{"call_id": "rtc_1", "state": "levitating"}], "omitted": 0}

    call_id = await both.talking()
    assert await both.first.container.records.flush(PATIENT_SECONDS)
    mailbox(both.first).answer(fleet_calls.CALLS, newer)
    listed = await both.second.client.get(CALLS)
    assert [call["call_id"] for call in plain(listed)["calls"]] == [call_id]
    assert listed.headers["X-Calls-Silent"] == both.first.container.instance_id
    await both.over()


async def audited(harness: GatewayHarness) -> list[dict[str, Any]]:
    """What the audit has of hang-ups."""
    changes = plain(await harness.client.get("/api/v1/audit"))["changes"]
    return [change for change in changes if "call_id" in change["after"]]


async def test_a_hang_up_reaches_the_process_with_the_call(both: Pair) -> None:
    """The call ends for an operator's reason; the audit has it once, with who asked; once more it is over."""
    call_id = await both.talking()
    path = f"{CALLS}/{call_id}/hang-up"
    assert (await both.second.client.post(path, headers={"X-Admin-Actor": "ada"})).status_code == 204
    await both.over()
    assert plain(await both.second.client.get(f"{CALLS}/{call_id}"))["outcome"] == "operator"
    (entry,) = await audited(both.first)
    assert (entry["action"], entry["after"]) == ("hung_up", {"call_id": call_id})
    assert entry["actor"].startswith("http:ada#")
    assert (await both.second.client.post(path)).status_code == 409
    assert (await both.second.client.post(f"{CALLS}/rtc_0/hang-up")).status_code == 404
    assert len(await audited(both.first)) == 1


@pytest.mark.parametrize("which", ["first", "second"])
@pytest.mark.parametrize(("status", "answered", "error"), [(500, 502, "500"), (404, 409, "over")])
async def test_the_audit_has_what_became_of_a_hang_up(
    both: Pair, which: str, status: int, answered: int, error: str
) -> None:
    """A carrier that refuses, or that has no such call, is answered and audited as that, wherever the call runs."""
    call_id, asked = fresh_id(), getattr(both, which)
    faults = CallFaults(hangup=Refuse(status))
    placing = asyncio.create_task(both.first.place(TALK, call_id=call_id, faults=faults))
    tracker = both.first.container.telemetry.tracker
    await both.first.until(
        lambda: tracker.knows(call_id) and state(both.first, call_id) is CallState.STARTED, "the call to run"
    )
    refused = await asked.client.post(f"{CALLS}/{call_id}/hang-up")
    assert refused.status_code == answered
    (entry,) = await audited(asked)
    assert (entry["action"], entry["after"]) == ("hang_up_failed", {"call_id": call_id, "error": error})
    both.carrier.hang_up_all()
    await placing
    await both.over()


async def test_the_live_page_shows_the_fleet(both: Pair) -> None:
    """Its facts have the running calls of all, and how many processes told theirs."""
    calls = [await both.talking(both.first), await both.talking(both.second)]
    overview = plain(await both.second.client.get("/api/v1/overview"))
    assert {call["call_id"] for call in overview["running"]} == set(calls)
    assert (overview["running_count"], overview["strip"]["running"], overview["strip"]["in_use"]) == (2, 2, 2)
    assert overview["strip"]["processes"] == {"answering": 2, "known": 2}
    await both.over()


async def test_the_live_page_says_what_the_api_says_of_the_fleet(both: Pair) -> None:
    """Field by field as of one process, from whichever is asked, and of a tenant that has called the other alone."""
    both.carrier.target = str(both.second.client.base_url)
    await both.second.call(ANSWERED, call_id=fresh_id())
    failed = both.first.container.telemetry.tracker.received("rtc_failed", "tenant-002")
    failed.accepted()
    failed.started()
    failed.finish(EndReason.ERROR, error_type="SessionLost")
    await published(both)
    for harness in (both.first, both.second):
        async with httpx2.AsyncClient(base_url=harness.client.base_url, headers=SAME, timeout=60) as person:
            assert (await person.post("/sign-in", data={"token": TOKEN})).status_code == 303
            assert await first_page_compared(harness, person) == 2
            await tenants_page_compared(harness, person, "tenant-002")
            assert "this process" not in (await person.get("/")).text
        answer = await harness.client.get("/api/v1/overview")
        overview = plain(answer)
        assert (overview["scope"], answer.headers["X-Metrics-Scope"]) == ("fleet", "fleet")
        assert answer.headers["X-Metrics-Processes"] == "2/2"
        assert (overview["strip"]["failed_share"], overview["live"]["failed_calls"]) == (0.5, 1)
    await both.over()


async def test_the_live_page_says_which_process_does_not_answer(both: Pair) -> None:
    """Calls that need attention are those of all, and a silent process is named."""
    failed = both.first.container.telemetry.tracker.received("rtc_failed", "tenant-001")
    failed.accepted()
    failed.started()
    failed.finish(EndReason.ERROR, error_type="SessionLost")
    await published(both)
    overview = plain(await both.second.client.get("/api/v1/overview"))
    assert {call["call_id"]: call["reasons"] for call in overview["attention"]} == {
        "rtc_failed": ["failed (SessionLost)"]
    }
    said = {one["name"]: one["text"] for one in overview["verdicts"]}
    assert said["failures"] == "100 % of calls ended with an error in the last hour: 1 of 1."
    assert said["processes"] == "Both processes answer."
    of_tenant = plain(await both.second.client.get("/api/v1/overview?tenant_id=tenant-002"))
    assert of_tenant["attention"] == []
    await mailbox(both.first).stop()
    mailbox(both.second).answer_seconds = 0.05
    async with asyncio.timeout(PATIENT_SECONDS):
        while said["processes"].startswith("Both"):
            overview = plain(await both.second.client.get("/api/v1/overview"))
            said = {one["name"]: one["text"] for one in overview["verdicts"]}
    assert re.fullmatch(r"1 of 2 processes does not answer \([0-9a-f]{8}\): its open calls are .*", said["processes"])
    await both.over()


async def test_the_live_page_without_the_store(tmp_path: Path, peers: Peers) -> None:
    """What a process counted is its own then, and says so."""
    store = peers.redis()
    async with pair(tmp_path, store.url) as both:
        await over(both, both.first)
        await published(both)
        await both.second.client.get("/api/v1/overview")
        store.kill()
        fleet = both.second.container.fleet
        assert fleet is not None
        await both.second.until(lambda: fleet.member.away, "the store to be missed")
        overview = plain(await both.second.client.get("/api/v1/overview"))
        async with asyncio.timeout(PATIENT_SECONDS):
            while overview["scope"] == "fleet":
                # It stands for a moment.
                overview = plain(await both.second.client.get("/api/v1/overview"))
        said = {one["name"]: one["text"] for one in overview["verdicts"]}
        assert said["failures"] == "No call of this process has ended in the last hour."
        base = both.second.client.base_url
        async with httpx2.AsyncClient(base_url=base, headers=SAME, timeout=60) as person:
            assert (await person.post("/sign-in", data={"token": TOKEN})).status_code == 303
            page = (await person.get("/")).text
            assert ("Failed, this process" in page, "Counted <small>by this process since" in page) == (True, True)


async def test_the_live_page_finds_and_shows_calls_of_others(both: Pair) -> None:
    """Its search goes through the fleet, says who did not answer, and leads to the page of any call, to be hung up."""
    call_id = await both.talking()
    base = both.second.client.base_url
    async with httpx2.AsyncClient(base_url=base, headers=SAME, timeout=PATIENT_SECONDS) as person:
        assert (await person.post("/sign-in", data={"token": TOKEN})).status_code == 303
        found = (await person.get("/search?state=started")).text
        assert (f"/calls/{call_id}" in found, "processes answered" in found) == (True, False)
        page = (await person.get(f"/calls/{call_id}")).text
        assert (f"/calls/{call_id}/hang-up" in page, "only its record is left" in page) == (True, False)
        assert await both.first.container.records.flush(PATIENT_SECONDS)
        await mailbox(both.first).stop()
        mailbox(both.second).answer_seconds = 0.05
        found = (await person.get("/search?state=started")).text
        assert f"/calls/{call_id}" in found
        assert "1 of 2 processes answered; of the others the calls are as their records are" in found
    await both.over()


async def test_a_process_alone_has_no_fleet_to_ask(harness_alone: httpx2.AsyncClient) -> None:
    """Without REDIS_URL a list has no headers of a fleet, and one that is asked for is refused with what to set."""
    answer = await harness_alone.get(CALLS)
    assert not [name for name in answer.headers if name.startswith("x-calls")]
    refused = await harness_alone.get(f"{CALLS}?scope=fleet")
    assert (refused.status_code, "REDIS_URL" in refused.json()["detail"]) == (503, True)
    assert (await harness_alone.get("/api/v1/metrics/capacity/debug?scope=fleet")).status_code == 503


@pytest.fixture
async def harness_alone(tmp_path: Path) -> AsyncIterator[httpx2.AsyncClient]:
    """A client of a service in no fleet."""
    async with running_harness(tmp_path) as harness:
        yield harness.client


async def test_the_registry_of_the_fleet(both: Pair) -> None:
    """Slots are the store's, calls and counts those of both, from either; a process that is silent is named."""
    debug = "/api/v1/metrics/capacity/debug"
    calls = [await both.talking(both.first), await both.talking(both.second), await both.talking(both.first)]
    await published(both)
    for harness, query in ((both.first, "?scope=fleet"), (both.second, "")):
        answer = await harness.client.get(f"{debug}{query}")
        told = plain(answer)
        assert (answer.headers["X-Metrics-Scope"], told["scope"], told["mode"]) == ("fleet", "fleet", "fleet")
        assert answer.headers["X-Calls-Processes"] == "2/2"
        assert [call["call_id"] for call in told["active_calls"]] == calls
        everyone, tenant = told["global"], told["tenants"]["tenant-001"]
        for slots in (everyone, tenant):
            assert [slots[name] for name in ("in_use", "available", "active", "pending")] == [3, 97, 3, 0]
            assert slots["peak_in_use_5m"] == 3
        assert (told["consistent"], told["inconsistencies"]) == (True, [])
    own = await both.second.client.get(f"{debug}?scope=process")
    assert (own.headers["X-Metrics-Scope"], plain(own)["global"]["in_use"]) == ("process", 1)
    refused = await both.second.client.get(f"{debug}?scope=fleet", headers=token(BOUND))
    assert refused.status_code == 403
    await mailbox(both.first).stop()
    mailbox(both.second).answer_seconds = 0.05
    missing = await both.second.client.get(f"{debug}?scope=fleet")
    assert missing.status_code == 503
    left = await both.second.client.get(debug)
    for answer in (missing, left):
        assert answer.headers["X-Calls-Silent"] == both.first.container.instance_id
    assert [call["call_id"] for call in plain(left)["active_calls"]] == [calls[1]]
    assert plain(left)["global"]["active"] == 3
    await both.over()
