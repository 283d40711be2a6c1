"""What can be changed from a page: asked twice, audited, and only by who may."""

import asyncio
import re

import httpx2
import pytest

from service.http.tokens import HEADER, fingerprint
from service.simulator.script import AgentGreets, AgentSpeaks, CallerStaysSilent, CallScript
from telemetry.calls.lifecycle import CallState
from tests.service.gateway.harness import GatewayHarness, fresh_id
from tests.service.page.browsing import SignedIn, secret, shown

LONG = CallScript("long", (AgentGreets(AgentSpeaks("Hello.")), CallerStaysSilent(3_000)))


async def running(harness: GatewayHarness) -> str:
    """A call of the first tenant that runs until somebody ends it."""
    call_id = fresh_id()
    task = asyncio.create_task(harness.place(LONG, call_id=call_id))
    tracker = harness.container.telemetry.tracker
    await harness.until(
        lambda: tracker.knows(call_id) and tracker.call(call_id).state is CallState.STARTED, "the call to run"
    )
    harness.pending = [*getattr(harness, "pending", []), task]  # type: ignore[attr-defined] # kept from the collector
    return call_id


async def test_a_running_call_is_hung_up_from_its_page(harness: GatewayHarness, person: httpx2.AsyncClient) -> None:
    """The button asks, the form does it; the call ends for the reason it ended, and the audit says who."""
    call_id = await running(harness)
    page = await shown(person, f"/calls/{call_id}")
    assert f"/calls/{call_id}/hang-up" in page.links()
    asked = await shown(person, f"/calls/{call_id}/hang-up")
    assert "Hang up this call?" in asked.text(id="main")
    assert harness.container.telemetry.tracker.call(call_id).state is CallState.STARTED
    answer = await person.post(f"/calls/{call_id}/hang-up")
    assert (answer.status_code, answer.headers["location"]) == (303, f"/calls/{call_id}")
    await harness.settled()
    call = await harness.get(f"/api/v1/calls/{call_id}")
    assert (call["outcome"], call["ending"]["reason"]) == ("operator", "operator")
    assert "an operator hung up" in call["explanation"]
    (entry, *_) = (await harness.get("/api/v1/tenants/tenant-001/audit"))["changes"]
    assert (entry["action"], entry["after"]) == ("hung_up", {"call_id": call_id})
    assert entry["actor"] == f"page#{fingerprint(secret('all').encode())}"
    again = await person.get(f"/calls/{call_id}/hang-up")
    assert (again.status_code, "Hang up this call?" in again.text) == (409, False)


async def test_a_running_call_is_hung_up_over_the_api(harness: GatewayHarness) -> None:
    """204; once more 409, since it is over; one that never was 404."""
    call_id = await running(harness)
    path = f"/api/v1/calls/{call_id}/hang-up"
    assert (await harness.client.post(path, headers={"X-Admin-Actor": "ada"})).status_code == 204
    await harness.settled()
    assert (await harness.client.post(path)).status_code == 409
    assert (await harness.client.post("/api/v1/calls/rtc_0/hang-up")).status_code == 404
    changes = (await harness.get("/api/v1/audit"))["changes"]
    assert [change["actor"] for change in changes if change["action"] == "hung_up"] == [
        f"http:ada#{fingerprint(secret('all').encode())}"
    ]


async def test_who_may_not_hang_up_cannot(harness: GatewayHarness, visit: SignedIn) -> None:
    """A token that reads has no button and no way; that of another tenant sees no call."""
    call_id = await running(harness)
    async with visit("reads one") as client:
        assert "hang-up" not in (await client.get(f"/calls/{call_id}")).text
        assert (await client.get(f"/calls/{call_id}/hang-up")).status_code == 403
        assert (await client.post(f"/calls/{call_id}/hang-up")).status_code == 403
    answer = await harness.client.post(f"/api/v1/calls/{call_id}/hang-up", headers={HEADER: secret("reads all")})
    assert answer.status_code == 403
    assert harness.container.telemetry.tracker.call(call_id).state is CallState.STARTED
    async with visit("one") as client:
        assert (await client.post(f"/calls/{call_id}/hang-up")).status_code == 303
    await harness.settled()


async def test_a_call_is_not_hung_up_while_nobody_can_be_told_who_did_it(
    harness: GatewayHarness, person: httpx2.AsyncClient
) -> None:
    """Without the audit there is no hang-up: the page says that the database is away, and the call goes on."""
    call_id = await running(harness)
    await harness.break_table("tenant_audit")
    assert (await person.post(f"/calls/{call_id}/hang-up")).status_code == 503
    assert harness.container.telemetry.tracker.call(call_id).state is CallState.STARTED


def version_in(text: str) -> str:
    """The version that a form is based on."""
    found = re.search(r'name="version" value="(\d+)"', text)
    assert found is not None
    return found[1]


async def test_a_limit_is_changed_from_a_tenants_page(harness: GatewayHarness, person: httpx2.AsyncClient) -> None:
    """It holds at once, is in the audit, and empty goes back to the general limit."""
    path = "/tenants/tenant-001/limit"
    form = await person.get(path)
    answer = await person.post(path, data={"limit": "3", "version": version_in(form.text)})
    assert (answer.status_code, answer.headers["location"]) == (303, "/tenants/tenant-001")
    assert "Calls at once 3" in (await shown(person, "/tenants/tenant-001")).text(id="settings")
    assert (await harness.get("/api/v1/overview?tenant_id=tenant-001"))["strip"]["limit"] == 3
    (entry, *_) = (await harness.get("/api/v1/tenants/tenant-001/audit"))["changes"]
    assert (entry["actor"].partition("#")[0], entry["after"]) == ("page", {"max_concurrent_calls": 3})
    form = await person.get(path)
    await person.post(path, data={"limit": "", "version": version_in(form.text)})
    assert (await harness.get("/api/v1/tenants/tenant-001"))["max_concurrent_calls"] is None


@pytest.mark.parametrize("limit", ["-1", "1.5", "many", "99999999999", "1e3", "\u0661"])
async def test_a_wrong_limit_is_asked_for_again(
    module_harness: GatewayHarness, reader: httpx2.AsyncClient, limit: str
) -> None:
    """The form says what it takes, and nothing is changed."""
    path = "/tenants/tenant-001/limit"
    version = version_in((await reader.get(path)).text)
    answer = await reader.post(path, data={"limit": limit, "version": version})
    assert (answer.status_code, "must be a whole number" in answer.text) == (422, True)
    assert (await module_harness.get("/api/v1/tenants/tenant-001"))["max_concurrent_calls"] is None


@pytest.mark.parametrize("missing", ["limit", "version"])
async def test_a_form_without_a_field_changes_nothing(
    harness: GatewayHarness, person: httpx2.AsyncClient, missing: str
) -> None:
    """An empty limit means the general one, and a form that lost the field must not pass for it."""
    path = "/tenants/tenant-001/limit"
    fields = {"limit": "3", "version": version_in((await person.get(path)).text)}
    assert (await person.post(path, data=fields)).status_code == 303
    fields["version"] = version_in((await person.get(path)).text)
    answer = await person.post(path, data={name: value for name, value in fields.items() if name != missing})
    assert (answer.status_code, f"<bdi>{missing}</bdi></code>: is missing" in answer.text) == (422, True)
    assert "This form is not right" in answer.text
    assert (await harness.get("/api/v1/tenants/tenant-001"))["max_concurrent_calls"] == 3


@pytest.mark.parametrize("tenant", ["nobody", "No Body", "\u4f60\u597d", "x" * 100, "_unknown"])
async def test_a_limit_of_a_tenant_there_is_not_is_not_changed(reader: httpx2.AsyncClient, tenant: str) -> None:
    """Whatever the id is, also one that no tenant can have."""
    form = {"limit": "", "version": ""}
    answers = [await reader.get(f"/tenants/{tenant}/limit"), await reader.post(f"/tenants/{tenant}/limit", data=form)]
    assert [answer.status_code for answer in answers] == [404, 404]


async def test_of_two_who_change_a_limit_one_is_told(harness: GatewayHarness, person: httpx2.AsyncClient) -> None:
    """A form that is based on what is no longer so changes nothing."""
    path = "/tenants/tenant-001/limit"
    version = version_in((await person.get(path)).text)
    assert (await person.post(path, data={"limit": "3", "version": version})).status_code == 303
    answer = await person.post(path, data={"limit": "5", "version": version})
    assert (answer.status_code, "changed this tenant meanwhile" in answer.text) == (422, True)
    assert (await harness.get("/api/v1/tenants/tenant-001"))["max_concurrent_calls"] == 3


async def test_who_may_not_change_a_limit_cannot(harness: GatewayHarness, visit: SignedIn) -> None:
    """Neither a token that reads, nor one of another tenant."""
    for role, tenant in (("reads one", "tenant-001"), ("one", "tenant-002"), ("reads all", "tenant-001")):
        async with visit(role) as client:
            answers = [
                await client.get(f"/tenants/{tenant}/limit"),
                await client.post(f"/tenants/{tenant}/limit", data={"limit": "1", "version": "1"}),
            ]
            assert [answer.status_code for answer in answers] == [403, 403], role
    assert (await harness.get("/api/v1/tenants/tenant-001"))["max_concurrent_calls"] is None
