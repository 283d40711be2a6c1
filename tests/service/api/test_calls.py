"""The list of calls under way."""

from datetime import UTC, datetime

import httpx2

from service.api.calls import NoTraceIds, call_list, own_open_calls
from telemetry.calls.call import Call
from telemetry.semconv.attributes import EndReason
from telemetry.testing import TelemetryKit
from tests.service.api.gateway import Gateway

CALLS = "/api/v1/calls"


def accepted(kit: TelemetryKit, call_id: str) -> Call:
    call = kit.tracker.received(call_id, "acme")
    call.accepted()
    return call


def started(kit: TelemetryKit, call_id: str) -> Call:
    call = accepted(kit, call_id)
    call.started()
    return call


def test_without_calls_both_lists_are_empty(admin: httpx2.Client) -> None:
    """An idle process answers the empty lists, nothing else."""
    assert admin.get(CALLS).json() == {"calls": [], "pending_call_ids": []}


def test_a_running_call_is_shown_whole(admin: httpx2.Client, gateway: Gateway) -> None:
    """A started call has its tenant, the wall-clock time of its start, its duration and its trace."""
    call = started(gateway.kit, "rtc_1")
    began = gateway.kit.clock.now()
    gateway.kit.clock.advance(12.3)
    (entry,) = admin.get(CALLS).json()["calls"]
    assert datetime.fromisoformat(entry.pop("started_at")) == datetime.fromtimestamp(began.unix_nanos / 1e9, UTC)
    assert entry == {
        "call_id": "rtc_1",
        "tenant_id": "acme",
        "status": "RUNNING",
        "duration_seconds": 12.3,
        "trace_id": entry["trace_id"],
    }
    call.ended(EndReason.HANGUP)
    assert [tree.trace_id for tree in gateway.kit.spans()] == [entry["trace_id"]]


def test_status_follows_the_call(admin: httpx2.Client, gateway: Gateway) -> None:
    """Accepted is NEW, started RUNNING, handed off or being hung up ENDING; over is gone."""
    accepted(gateway.kit, "rtc_new")
    started(gateway.kit, "rtc_running")
    started(gateway.kit, "rtc_hung_up").ending()
    started(gateway.kit, "rtc_referred").referred("sales")
    started(gateway.kit, "rtc_over").ended(EndReason.COMPLETED)
    statuses = {entry["call_id"]: entry["status"] for entry in admin.get(CALLS).json()["calls"]}
    assert statuses == {
        "rtc_new": "NEW",
        "rtc_running": "RUNNING",
        "rtc_hung_up": "ENDING",
        "rtc_referred": "ENDING",
    }


def test_a_call_that_has_not_started_has_no_start_and_no_duration(admin: httpx2.Client, gateway: Gateway) -> None:
    """Waiting for its media session, a call has neither a time of start nor a duration."""
    accepted(gateway.kit, "rtc_1")
    gateway.kit.clock.advance(3)
    (entry,) = admin.get(CALLS).json()["calls"]
    assert (entry["started_at"], entry["duration_seconds"]) == (None, 0)


def test_pending_calls_are_listed_by_id_alone(admin: httpx2.Client, gateway: Gateway) -> None:
    """A call not yet decided upon is among the pending ids and not among the calls."""
    gateway.kit.tracker.received("rtc_pending", "acme")
    assert admin.get(CALLS).json() == {"calls": [], "pending_call_ids": ["rtc_pending"]}


def test_calls_come_in_the_order_they_were_received(admin: httpx2.Client, gateway: Gateway) -> None:
    """The oldest call is the first."""
    for number in range(5):
        started(gateway.kit, f"rtc_{number}")
        gateway.kit.clock.advance(1)
    assert [entry["call_id"] for entry in admin.get(CALLS).json()["calls"]] == [f"rtc_{n}" for n in range(5)]


def test_hostile_call_ids_are_listed_not_executed(admin: httpx2.Client, gateway: Gateway) -> None:
    """Whatever a carrier calls its calls, the list stays valid JSON: also half a surrogate pair, which has no UTF-8."""
    hostile = ["a/../b?x=1", "x" * 10_000, "\x00\x1b[2J", '"}],"', "\ud800", "ключ"]
    for call_id in hostile:
        started(gateway.kit, call_id)
    listed = [entry["call_id"] for entry in admin.get(CALLS).json()["calls"]]
    assert listed == [*hostile[:4], "\\ud800", "ключ"]


def test_a_gateway_without_traces_lists_its_calls_all_the_same() -> None:
    """With no traces made, every trace id is null."""
    with TelemetryKit() as kit:
        started(kit, "rtc_1")
        listed = call_list(own_open_calls(kit.tracker, NoTraceIds()))
    assert [entry.trace_id for entry in listed.calls] == [None]
