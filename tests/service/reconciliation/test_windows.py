"""What records say of a window: the same as looking at every call by hand, whatever interval is asked about."""

import random
from collections import defaultdict
from collections.abc import Callable, Iterable

import pytest

from service.reconciliation.figures import Field, Interval, ReconcileQuery, Scope, merged
from service.reconciliation.records import MICROS_PER_MS, RecordsLedger
from service.records.record import StoredCall
from service.records.store import RecordStore
from service.storage.database import Database
from telemetry.calls.lifecycle import CallState
from telemetry.recent.record import CallOutcome, DurationBasis
from telemetry.semconv.attributes import CallId, EndReason, RejectionReason, TenantId
from telemetry.testing import FakeClock

BEGIN = 1_790_000_000_000
"""Milliseconds since 1970; around it the calls happen."""

HOUR = 3_600_000

STATES = [CallState.PENDING, CallState.ACCEPTED, CallState.STARTED, CallState.REJECTED, CallState.ENDED]
ENDS = [EndReason.HANGUP, EndReason.ERROR, EndReason.REFERRED, EndReason.SHUTDOWN]


def _call(number: int, chance: random.Random) -> StoredCall:
    received = BEGIN + chance.randrange(-HOUR, HOUR)
    decided = received + chance.randrange(2_000)
    started = decided + chance.randrange(2_000)
    ran = chance.choice([0, 999, 61_250, HOUR // 2])
    state = chance.choice(STATES)
    record = StoredCall(
        CallId(f"rtc_{number}"),
        TenantId(f"tenant-{number % 3}"),
        received_ms=received,
        last_seen_ms=started + ran,
        usage_from_ms=received,
        instance_id=f"instance-{number % 2}",
        claim=received * MICROS_PER_MS + chance.randrange(MICROS_PER_MS),
        version=1,
        state=state,
    )
    if state is not CallState.PENDING:
        record.decided_ms = decided
    if state is CallState.REJECTED:
        record.close(state, CallOutcome.REJECTED, chance.choice(list(RejectionReason)), None, decided)
    if state in (CallState.STARTED, CallState.ENDED):
        record.started_ms = record.usage_from_ms = started
        record.duration_basis = DurationBasis.STARTED
        record.billed_ms = ran
        record.referred_ms = started + ran // 2 if number % 4 == 0 else None
    if state is CallState.ENDED:
        reason = chance.choice(ENDS)
        failed = "ws_1011" if reason is EndReason.ERROR else None
        record.close(
            state, CallOutcome(reason) if failed is None else CallOutcome.FAILED, reason, failed, started + ran
        )
        record.duration_ms = ran
    return record


Happened = Callable[[StoredCall], int | None]

MOMENTS: dict[Field, Happened] = {
    Field.RECEIVED: lambda r: r.received_ms,
    Field.ACCEPTED: lambda r: r.decided_ms if r.state is not CallState.REJECTED else None,
    Field.REJECTED_CAPACITY: lambda r: r.decided_ms if r.reason == RejectionReason.CAPACITY else None,
    Field.REJECTED_CARRIER: lambda r: r.decided_ms if r.reason == RejectionReason.CARRIER_ERROR else None,
    Field.STARTED: lambda r: r.started_ms,
    Field.ENDED: lambda r: r.ended_ms if r.state is CallState.ENDED and r.reason != EndReason.SHUTDOWN else None,
    Field.FAILED: lambda r: r.ended_ms if r.error_type else None,
    Field.REFERRED: lambda r: r.referred_ms,
    Field.SHUTDOWN: lambda r: r.ended_ms if r.reason == EndReason.SHUTDOWN else None,
}


def _by_hand(calls: Iterable[StoredCall], interval: Interval) -> dict[str, dict[Field, float]]:
    counted: defaultdict[str, dict[Field, float]] = defaultdict(lambda: dict.fromkeys([*MOMENTS, Field.MINUTES], 0.0))
    for call in calls:
        for field, moment in MOMENTS.items():
            at = moment(call)
            counted[call.tenant_id][field] += at is not None and interval.start_ms <= at < interval.end_ms
        begin, end = call.usage_from_ms, call.usage_from_ms + call.billed_ms
        ran = min(end, interval.end_ms) - max(begin, interval.start_ms)
        counted[call.tenant_id][Field.MINUTES] += max(0, ran) / 60_000
    return {tenant: row for tenant, row in counted.items() if any(row.values())}


@pytest.fixture
async def calls(database: Database) -> list[StoredCall]:
    """Four hundred calls in two hours."""
    chance = random.Random(11)  # noqa: S311 -- nobody is to be kept from guessing
    made = [_call(number, chance) for number in range(400)]
    await RecordStore(database, FakeClock()).write([call.row() for call in made])
    return made


@pytest.mark.parametrize("scope", Scope)
async def test_a_window_is_what_looking_at_every_call_gives(
    database: Database, calls: list[StoredCall], scope: Scope
) -> None:
    """For windows of all lengths, of all processes or of one, each number is the one counted by hand."""
    ledger = RecordsLedger(database, "instance-1", overlap_ms=10_000)
    wanted = [call for call in calls if scope is Scope.FLEET or call.instance_id == "instance-1"]
    for start, length in ((-HOUR, 2 * HOUR), (0, 60_000), (-90_000, 1), (-HOUR // 3, HOUR), (2 * HOUR, HOUR)):
        interval = Interval(BEGIN + start, BEGIN + start + length)
        rows = await ledger.happened(ReconcileQuery(scope, *interval), interval)
        found = {
            tenant: {field: row[field].value for field in (*MOMENTS, Field.MINUTES)} for tenant, row in rows.items()
        }
        expected = _by_hand(wanted, interval)
        assert {tenant for tenant, row in found.items() if any(row.values())} == set(expected)
        for tenant, row in expected.items():
            assert found[tenant] == pytest.approx(row), (interval, tenant)


async def test_one_tenants_window_has_its_calls_alone(database: Database, calls: list[StoredCall]) -> None:
    """Asked of one tenant, there is that tenant and no other."""
    interval = Interval(BEGIN - HOUR, BEGIN + HOUR)
    ledger = RecordsLedger(database, "instance-1", overlap_ms=0)
    rows = await ledger.rows(ReconcileQuery(Scope.FLEET, *interval, "tenant-1"))
    assert set(rows) == {"tenant-1"}
    assert rows["tenant-1"][Field.RECEIVED].value == sum(call.tenant_id == "tenant-1" for call in calls)


async def test_late_billing_widens_the_time_alone(database: Database, calls: list[StoredCall]) -> None:
    """Call time that was billed later than it ran belongs to the interval, calls that happened before it do not."""
    interval = Interval(BEGIN, BEGIN + 60_000)
    ledger = RecordsLedger(database, "instance-1", overlap_ms=0)
    rows = await ledger.happened(ReconcileQuery(Scope.FLEET, *interval), interval, late_ms=10_000)
    counted, ran = _by_hand(calls, interval), _by_hand(calls, Interval(interval.start_ms - 10_000, interval.end_ms))
    for tenant, row in rows.items():
        assert row[Field.MINUTES].value == pytest.approx(ran.get(tenant, {}).get(Field.MINUTES, 0))
        assert row[Field.RECEIVED].value == counted.get(tenant, {}).get(Field.RECEIVED, 0)


def test_intervals_are_merged() -> None:
    """Overlapping and touching ones become one, empty and turned ones none, apart ones stay apart."""
    intervals = [Interval(5, 9), Interval(1, 3), Interval(3, 4), Interval(7, 8), Interval(6, 6), Interval(9, 2)]
    assert merged(intervals) == [Interval(1, 4), Interval(5, 9)]
