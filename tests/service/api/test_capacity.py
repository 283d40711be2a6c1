"""The registry of calls: slots, open calls, and whether the live metrics agree."""

import httpx2

from telemetry.calls.lifecycle import CallState
from telemetry.semconv.attributes import OTHER, EndReason, RejectionReason, TenantId, UnansweredReason
from tests.service.api.gateway import Gateway

DEBUG = "/api/v1/metrics/capacity/debug"


def test_an_idle_process_has_all_its_slots(admin: httpx2.Client) -> None:
    """Nothing in use, everything available, no tenant to tell of, and consistent."""
    answer = admin.get(DEBUG).json()
    assert answer.pop("as_of").startswith("2027-01-15T08:00:00")
    assert answer == {
        "scope": "process",
        "global": {
            "limit": 100,
            "in_use": 0,
            "available": 100,
            "active": 0,
            "pending": 0,
            "peak_in_use_5m": 0,
            "rejected": 0,
            "unanswered": 0,
            "taken_over": 0,
            "handed_over": 0,
        },
        "tenants": {},
        "active_calls": [],
        "accepted_calls": [],
        "pending_calls": [],
        "consistent": True,
        "inconsistencies": [],
    }


def test_slots_are_counted_per_tenant_and_in_total(admin: httpx2.Client, gateway: Gateway) -> None:
    """In use, left, peak and refused add up for a tenant with a limit of its own and for all together."""
    tracker = gateway.kit.tracker
    gateway.limits.replace_own({TenantId("acme"): 3})
    running = tracker.received("rtc_1", "acme")
    running.accepted()
    running.started()
    tracker.received("rtc_2", "acme")
    tracker.received("rtc_3", "globex").accepted()
    tracker.received("rtc_4", "acme").rejected(RejectionReason.CAPACITY)
    answer = admin.get(DEBUG).json()
    acme, everyone = answer["tenants"]["acme"], answer["global"]
    assert [acme[key] for key in ("limit", "in_use", "available", "active", "pending", "rejected")] == [
        3,
        2,
        1,
        1,
        1,
        1,
    ]
    assert [everyone[key] for key in ("limit", "in_use", "available", "active", "pending")] == [100, 3, 97, 1, 2]
    assert everyone["rejected"] == 1
    assert answer["tenants"]["globex"]["limit"] == 10


def test_slots_that_were_let_go_of_otherwise_are_counted(admin: httpx2.Client, gateway: Gateway) -> None:
    """Calls nobody answered, taken over from another process and left to one are counted, and hold no slot here."""
    tracker = gateway.kit.tracker
    for number in range(2):
        tracker.received(f"rtc_{number}", "acme").unanswered(UnansweredReason.CANCELED)
    tracker.taken_over("rtc_taken", "acme", CallState.STARTED)
    for call in (tracker.received("rtc_pending", "acme"), tracker.received("rtc_accepted", "globex")):
        call.handed_over()
    answer = admin.get(DEBUG).json()
    counts = ("in_use", "unanswered", "taken_over", "handed_over")
    assert [answer["tenants"]["acme"][key] for key in counts] == [1, 2, 1, 1]
    assert [answer["global"][key] for key in counts] == [1, 2, 1, 2]
    assert answer["consistent"] is True


def test_a_lowered_limit_leaves_no_slots_rather_than_a_negative_number(admin: httpx2.Client, gateway: Gateway) -> None:
    """When a limit falls below what runs, available is 0 and in_use tells the truth."""
    for number in range(3):
        gateway.kit.tracker.received(f"rtc_{number}", "acme")
    gateway.limits.replace_own({TenantId("acme"): 1})
    acme = admin.get(DEBUG).json()["tenants"]["acme"]
    assert (acme["limit"], acme["in_use"], acme["available"]) == (1, 3, 0)


def test_the_peak_is_remembered_for_five_minutes(admin: httpx2.Client, gateway: Gateway) -> None:
    """A peak outlives its calls by five minutes, then the tenant has nothing to tell any more."""
    calls = [gateway.kit.tracker.received(f"rtc_{number}", "acme") for number in range(4)]
    for call in calls:
        call.accepted()
    for call in calls:
        call.abandoned(EndReason.ERROR)
    gateway.kit.clock.advance(290)
    assert admin.get(DEBUG).json()["tenants"]["acme"]["peak_in_use_5m"] == 4
    gateway.kit.clock.advance(30)
    assert admin.get(DEBUG).json()["tenants"] == {}


def test_every_open_call_is_in_the_list_of_its_state(admin: httpx2.Client, gateway: Gateway) -> None:
    """Started, accepted and pending calls are told apart, with their age and the time since their last activity."""
    clock, tracker = gateway.kit.clock, gateway.kit.tracker
    running = tracker.received("rtc_running", "acme")
    running.accepted()
    running.started()
    clock.advance(10)
    running.seen()
    tracker.received("rtc_accepted", "acme").accepted()
    tracker.received("rtc_pending", "globex")
    clock.advance(2.5)
    answer = admin.get(DEBUG).json()
    assert answer["active_calls"] == [
        {
            "call_id": "rtc_running",
            "tenant_id": "acme",
            "state": "started",
            "age_seconds": 12.5,
            "last_seen_seconds": 2.5,
        }
    ]
    assert [(call["call_id"], call["state"]) for call in answer["accepted_calls"]] == [("rtc_accepted", "accepted")]
    assert [(call["call_id"], call["state"]) for call in answer["pending_calls"]] == [("rtc_pending", "pending")]


def test_a_tenant_that_was_only_ever_rejected_is_listed(admin: httpx2.Client, gateway: Gateway) -> None:
    """Whoever is never given a slot is the one to look for: it is there with its limit, and stays."""
    gateway.limits.replace_own({TenantId("acme"): 0})
    gateway.kit.tracker.received("rtc_1", "acme").rejected(RejectionReason.CAPACITY)
    gateway.kit.tracker.received("rtc_2", "globex").rejected(RejectionReason.CARRIER_ERROR)
    gateway.kit.tracker.received("rtc_3", OTHER).rejected(RejectionReason.CAPACITY)
    gateway.kit.clock.advance(400)
    answer = admin.get(DEBUG).json()
    assert answer["tenants"] == {
        "acme": {
            "limit": 0,
            "in_use": 0,
            "available": 0,
            "active": 0,
            "pending": 0,
            "peak_in_use_5m": 0,
            "rejected": 1,
            "unanswered": 0,
            "taken_over": 0,
            "handed_over": 0,
        }
    }
    assert answer["global"]["rejected"] == 2
    assert answer["consistent"]


def test_a_leaked_slot_is_listed_with_both_numbers(admin: httpx2.Client, gateway: Gateway) -> None:
    """A slot that the registry holds for a call that is over shows as a difference, for the tenant and in total."""
    call = gateway.kit.tracker.received("rtc_1", "acme")
    call.rejected(RejectionReason.CARRIER_ERROR)
    gateway.kit.tracker.moved(call, CallState.ENDED, CallState.ACCEPTED)
    answer = admin.get(DEBUG).json()
    assert not answer["consistent"]
    assert {"tenant_id": "acme", "what": "pending", "expected": 1, "found": 0, "live_age_seconds": 0} in answer[
        "inconsistencies"
    ]
    assert {(found["tenant_id"], found["what"]) for found in answer["inconsistencies"]} == {
        ("acme", "pending"),
        ("acme", "calls listed"),
        (None, "pending"),
        (None, "calls listed"),
    }
