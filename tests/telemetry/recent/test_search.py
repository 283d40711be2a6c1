"""Finding the calls worth opening."""

import pytest

from telemetry.calls.lifecycle import CallState
from telemetry.recent.limits import RecentLimits
from telemetry.recent.record import CallOutcome
from telemetry.recent.search import OVER, RUNNING, CallQuery
from telemetry.semconv.attributes import EndReason, RejectionReason, TenantId
from telemetry.testing import TelemetryKit
from tests.support import calls


@pytest.fixture
def busy(kit: TelemetryKit) -> TelemetryKit:
    """A minute apart: a failed, a rejected, a slow, a running and a pending call, of two tenants."""
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
    kit.clock.advance(60)
    calls.announced(kit, "rtc_pending", "globex")
    return kit


def found(kit: TelemetryKit, query: CallQuery) -> list[str]:
    return [call.call_id.removeprefix("rtc_") for call in kit.recent.search(query).calls]


def test_without_conditions_all_are_found_the_latest_first(busy: TelemetryKit) -> None:
    """Every call the record has is listed, in the reverse of the order they were received."""
    assert found(busy, CallQuery()) == ["pending", "running", "slow", "rejected", "failed"]


def test_conditions_narrow_the_list(busy: TelemetryKit) -> None:
    """Each condition keeps the calls it is about, and several keep those that meet all."""
    assert found(busy, CallQuery(states=RUNNING)) == ["running"]
    assert found(busy, CallQuery(states=OVER)) == ["slow", "rejected", "failed"]
    assert found(busy, CallQuery(states=frozenset({CallState.PENDING}))) == ["pending"]
    assert found(busy, CallQuery(tenant_id=TenantId("globex"))) == ["pending", "slow", "rejected"]
    assert found(busy, CallQuery(outcome=CallOutcome.FAILED)) == ["failed"]
    assert found(busy, CallQuery(outcome=CallOutcome.REJECTED)) == ["rejected"]
    assert found(busy, CallQuery(tenant_id=TenantId("acme"), outcome=CallOutcome.REJECTED)) == []


def test_slow_is_what_somebody_waited_for(busy: TelemetryKit) -> None:
    """A call is slow by its longest wait, whatever its length."""
    assert found(busy, CallQuery(slower_than=5)) == ["slow"]
    assert found(busy, CallQuery(slower_than=7.5)) == []
    busy.clock.advance(10)
    assert found(busy, CallQuery(slower_than=7.5)) == ["pending"]


def test_time_is_when_a_call_was_received(busy: TelemetryKit) -> None:
    """A stretch of time has the calls received in it, its beginning included and its end not."""
    failed, rejected = (busy.recent.call(call_id) for call_id in ("rtc_failed", "rtc_rejected"))
    assert failed is not None
    assert rejected is not None
    since = failed.summary.received.unix_nanos / 1e9
    until = rejected.summary.received.unix_nanos / 1e9
    assert found(busy, CallQuery(since=since, until=until)) == ["failed"]
    assert found(busy, CallQuery(since=until, until=until + 1)) == ["rejected"]


def test_a_caller_is_found_by_the_digits_that_are_kept(busy: TelemetryKit) -> None:
    """The last digits of the caller's number are enough to find the call, other digits find none."""
    assert len(found(busy, CallQuery(caller_ends_with="5678"))) == 5
    assert len(found(busy, CallQuery(caller_ends_with="78"))) == 5
    assert found(busy, CallQuery(caller_ends_with="0000")) == []


def test_pages_are_complete_and_do_not_overlap_while_calls_come_and_go() -> None:
    """Calls that arrive or are let go between two pages move none of the others to another page."""
    with TelemetryKit(recent_limits=RecentLimits(calls=10)) as kit:
        for number in range(10):
            calls.announced(kit, f"rtc_{number}").rejected(RejectionReason.CAPACITY)
        first = kit.recent.search(CallQuery(), limit=4)
        assert [call.call_id for call in first.calls] == ["rtc_9", "rtc_8", "rtc_7", "rtc_6"]
        for number in range(10, 13):
            calls.announced(kit, f"rtc_{number}").rejected(RejectionReason.CAPACITY)
        second = kit.recent.search(CallQuery(), limit=4, before=first.next_before)
        assert [call.call_id for call in second.calls] == ["rtc_5", "rtc_4", "rtc_3"]
        assert second.next_before is None


def test_a_full_last_page_has_no_next(busy: TelemetryKit) -> None:
    """A page that ends with the last call says that there is no other."""
    assert busy.recent.search(CallQuery(), limit=5).next_before is None
    assert busy.recent.search(CallQuery(), limit=4).next_before is not None
