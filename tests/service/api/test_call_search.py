"""Finding the calls worth opening, over HTTP."""

from datetime import UTC, datetime

import httpx2
import pytest

from telemetry.semconv.attributes import CallDirection, EndReason, Fault, RejectionReason, UnansweredReason
from tests.service.api.gateway import Gateway
from tests.support import calls

CALLS = "/api/v1/calls"


@pytest.fixture
def busy(gateway: Gateway) -> Gateway:
    """A minute apart: a failed, a rejected, a slow, a running and a pending call, of two tenants."""
    kit = gateway.kit
    calls.started(kit, "rtc_failed").ended(EndReason.ERROR, error_type="SessionLost")
    kit.clock.advance(60)
    calls.announced(kit, "rtc_rejected", "globex").rejected(RejectionReason.CAPACITY)
    kit.clock.advance(60)
    slow = calls.started(kit, "rtc_slow", "globex")
    calls.greeting(kit, slow)
    calls.turn(kit, slow, wait=7)
    slow.ended(EndReason.HANGUP)
    kit.clock.advance(60)
    running = calls.started(kit, "rtc_running")
    calls.greeting(kit, running)
    calls.announced(kit, "rtc_pending", "globex")
    return gateway


def found(admin: httpx2.Client, **params: str | float) -> list[str]:
    answer = admin.get(CALLS, params=params)
    assert answer.status_code == 200, answer.text
    return [call["call_id"].removeprefix("rtc_") for call in answer.json()["calls"]]


@pytest.mark.usefixtures("busy")
def test_each_parameter_narrows_the_list(admin: httpx2.Client) -> None:
    """State, tenant, outcome, slowness and caller each keep the calls they are about, the latest first."""
    assert found(admin, state="all") == ["pending", "running", "slow", "rejected", "failed"]
    assert found(admin, state="running") == ["running"]
    assert found(admin, state="over") == ["slow", "rejected", "failed"]
    assert found(admin, state="pending") == ["pending"]
    assert found(admin, state="rejected") == found(admin, outcome="rejected") == ["rejected"]
    assert found(admin, tenant_id="acme") == ["running", "failed"]
    assert found(admin, outcome="failed") == ["failed"]
    assert found(admin, slower_than=5) == ["slow"]
    assert found(admin, caller_ends_with="5678", state="ended") == ["slow", "failed"]
    assert found(admin, caller_ends_with="0000") == []


def test_origin_fault_and_reason_narrow_the_list(admin: httpx2.Client, gateway: Gateway) -> None:
    """Direction, source, the party at fault and the reason of an unanswered call each keep the calls they are about."""
    tracker = gateway.kit.tracker
    tracker.received("rtc_gone", "acme").unanswered(UnansweredReason.CANCELED)
    tracker.received("rtc_busy", "acme", direction=CallDirection.OUTBOUND, source="trunk-9").unanswered(
        UnansweredReason.BUSY
    )
    calls.started(gateway.kit, "rtc_failed").ended(EndReason.ERROR, error_type="ws_1006", fault=Fault.CARRIER)
    assert found(admin, outcome="unanswered") == ["busy", "gone"]
    assert found(admin, reason="canceled") == ["gone"]
    assert found(admin, direction="outbound") == found(admin, source="trunk-9") == ["busy"]
    assert found(admin, direction="inbound", outcome="unanswered") == ["gone"]
    assert found(admin, fault="carrier") == ["failed"]
    assert found(admin, fault="model") == []


def test_without_parameters_the_calls_under_way_are_listed(admin: httpx2.Client, busy: Gateway) -> None:
    """The plain list is the one of calls that are not over; it has no cursor."""
    assert busy.kit.recent.size.open_calls == 2
    answer = admin.get(CALLS).json()
    assert [call["call_id"] for call in answer["calls"]] == ["rtc_running"]
    assert answer.keys() == {"calls", "pending_call_ids"}


def test_time_may_be_said_in_any_zone(admin: httpx2.Client, busy: Gateway) -> None:
    """A time without a zone is UTC, one with a zone is what it says, and a number is none."""
    rejected = busy.kit.recent.call("rtc_rejected")
    assert rejected is not None
    at = rejected.summary.received.unix_nanos / 1e9
    moment, after = (datetime.fromtimestamp(at + seconds, UTC) for seconds in (-1, 1))
    for since in (moment.isoformat(), moment.replace(tzinfo=None).isoformat()):
        assert found(admin, since=since, until=after.isoformat()) == ["rejected"]
    assert admin.get(CALLS, params={"since": str(at - 1)}).status_code == 422
    assert found(admin, since="2026-11-22T14:02:00+01:00", until="2026-11-22T13:02:01Z") == []


@pytest.mark.usefixtures("busy")
def test_an_entry_says_whether_it_is_worth_opening(admin: httpx2.Client) -> None:
    """Status, outcome, reason, error, longest wait, turns, masked caller and links are in the list already."""
    (failed,) = admin.get(CALLS, params={"outcome": "failed"}).json()["calls"]
    assert (failed["status"], failed["reason"], failed["error_type"]) == ("ENDED", "error", "SessionLost")
    assert failed["caller"] == "…5678"
    assert admin.get(failed["links"]["self"]).json()["call_id"] == "rtc_failed"
    (rejected,) = admin.get(CALLS, params={"outcome": "rejected"}).json()["calls"]
    assert (rejected["status"], rejected["reason"], rejected["duration_basis"]) == ("REJECTED", "capacity", "received")
    page = admin.get(CALLS, params={"state": "pending"}).json()
    assert (page["calls"][0]["status"], page["pending_call_ids"]) == ("PENDING", ["rtc_pending"])


@pytest.mark.usefixtures("busy")
def test_pages_follow_one_another(admin: httpx2.Client) -> None:
    """With the cursor of each page the next is asked for, until there is none; together they are everything once."""
    seen: list[str] = []
    params: dict[str, str | int] = {"state": "all", "limit": 2}
    while True:
        page = admin.get(CALLS, params=params).json()
        seen += [call["call_id"].removeprefix("rtc_") for call in page["calls"]]
        if page["next_cursor"] is None:
            break
        params["cursor"] = page["next_cursor"]
    assert seen == ["pending", "running", "slow", "rejected", "failed"]


@pytest.mark.parametrize(
    ("parameter", "value"),
    [
        ("state", "odd"),
        ("outcome", "fine"),
        ("slower_than", "-1"),
        ("slower_than", "nan"),
        ("slower_than", "inf"),
        ("since", "yesterday"),
        ("until", "14:02"),
        ("limit", "0"),
        ("limit", "501"),
        ("cursor", "made up"),
        ("cursor", "x" * 201),
        ("tenant_id", "a\nb"),
        ("caller_ends_with", "+33612345678"),
    ],
)
def test_what_makes_no_sense_is_a_problem_that_names_it(admin: httpx2.Client, parameter: str, value: str) -> None:
    """A wrong parameter is 422, its name is in the answer and its value is not."""
    answer = admin.get(CALLS, params={parameter: value})
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, f"query.{parameter}")
    assert value not in answer.json()["errors"][0]["detail"] or len(value) < 4


def test_a_call_that_ends_is_ending_first(admin: httpx2.Client, gateway: Gateway) -> None:
    """NEW, RUNNING, ENDING and the names of the ends are the words for where a call stands."""
    call = calls.announced(gateway.kit)
    call.accepted()
    statuses = [admin.get(CALLS, params={"state": "all"}).json()["calls"][0]["status"]]
    call.started()
    statuses.append(admin.get(CALLS, params={"state": "all"}).json()["calls"][0]["status"])
    call.referred("sales")
    statuses.append(admin.get(CALLS, params={"state": "all"}).json()["calls"][0]["status"])
    call.ended(EndReason.REFERRED)
    statuses.append(admin.get(CALLS, params={"state": "all"}).json()["calls"][0]["status"])
    assert statuses == ["NEW", "RUNNING", "ENDING", "ENDED"]


@pytest.mark.usefixtures("busy")
def test_a_tenant_that_there_is_not_is_not_searched_for(admin: httpx2.Client, gateway: Gateway) -> None:
    """404 for a name neither configured nor seen, 503 while that cannot be known; one without calls has none."""
    gateway.tenants.known = {"initech"}
    assert found(admin, tenant_id="initech") == []
    assert found(admin, tenant_id="globex", state="rejected") == ["rejected"]
    assert admin.get(CALLS, params={"tenant_id": "acmee"}).status_code == 404
    gateway.tenants.broken = True
    assert admin.get(CALLS, params={"tenant_id": "acmee"}).status_code == 503
    assert len(found(admin, tenant_id="acme")) == 2
