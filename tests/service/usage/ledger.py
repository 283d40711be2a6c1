"""Calls for tests of usage: made in one line each, written as rows, and added up the slow and obvious way."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from zoneinfo import ZoneInfo

from service.records.record import DurationSource, StoredCall
from service.records.store import RecordStore
from service.storage.database import Database
from service.usage.period import Dimension, Grouping, Period, moment
from service.usage.query import Sums
from service.usage.report import UsageLine, UsageReader
from service.usage.rules import Rules
from telemetry.calls.lifecycle import CallState
from telemetry.recent.record import CallOutcome, DurationBasis
from telemetry.semconv.attributes import DIRECT_SOURCE, CallDirection, CallId, Fault, TenantId
from telemetry.testing import FakeClock

Key = tuple[str | None, str | None, str | None, str | None]
"""Slot, tenant, outcome and reason of a line."""

_STATES = {
    None: (CallState.STARTED, None),
    CallOutcome.HANGUP: (CallState.ENDED, "hangup"),
    CallOutcome.FAILED: (CallState.ENDED, "error"),
    CallOutcome.REJECTED: (CallState.REJECTED, "capacity"),
    CallOutcome.UNANSWERED: (CallState.UNANSWERED, "canceled"),
    CallOutcome.ABANDONED: (CallState.ABANDONED, "error"),
}


@dataclass(frozen=True)
class Made:
    """A call as a test states it."""

    start: str | int
    """An ISO moment with offset, or milliseconds."""
    seconds: float = 0.0
    tenant_id: str = "acme"
    outcome: CallOutcome | None = CallOutcome.HANGUP
    received_ms: int | None = None
    """When it was announced, by whatever clock; ``None``: as it started."""
    direction: CallDirection = CallDirection.INBOUND
    source: str = DIRECT_SOURCE
    fault: Fault | None = None

    @property
    def start_ms(self) -> int:
        if isinstance(self.start, int):
            return self.start
        return round(datetime.fromisoformat(self.start).timestamp() * 1000)

    @property
    def answered(self) -> bool:
        return self.outcome not in (CallOutcome.REJECTED, CallOutcome.UNANSWERED, CallOutcome.ABANDONED)

    @property
    def duration_ms(self) -> int:
        return round(self.seconds * 1000) if self.answered else 0

    @property
    def reason(self) -> str | None:
        return _STATES[self.outcome][1]

    def record(self, number: int) -> StoredCall:
        closed = self.outcome is not None
        return StoredCall(
            CallId(f"rtc_{number}"),
            TenantId(self.tenant_id),
            received_ms=self.start_ms if self.received_ms is None else self.received_ms,
            last_seen_ms=self.start_ms + self.duration_ms,
            usage_from_ms=self.start_ms,
            instance_id="maker",
            claim=1,
            version=1,
            state=_STATES[self.outcome][0],
            outcome=self.outcome,
            reason=self.reason,
            fault=self.fault,
            direction=self.direction,
            source=self.source,
            started_ms=self.start_ms if self.answered else None,
            ended_ms=self.start_ms + self.duration_ms if closed else None,
            billed_ms=self.duration_ms,
            duration_ms=self.duration_ms if closed and self.answered else None,
            duration_basis=DurationBasis.STARTED if self.answered else DurationBasis.RECEIVED,
            duration_source=DurationSource.MEASURED if closed and self.answered else None,
        )


async def written(database: Database, calls: Iterable[Made], first: int = 0) -> None:
    """Write the calls as rows."""
    rows = [call.record(number).row() for number, call in enumerate(calls, first)]
    await RecordStore(database, FakeClock()).write(rows)


async def read(database: Database, period: Period, group_by: str, tenant_id: str | None = None) -> list[UsageLine]:
    """The lines of a report."""
    lines = UsageReader(database).lines(period, Grouping.parse(group_by, period), tenant_id=tenant_id)
    return [line async for line in lines]


def keyed(lines: Iterable[UsageLine]) -> dict[Key, Sums]:
    """Lines by what tells them apart; no two may be the same."""
    by_key: dict[Key, Sums] = {}
    for line in lines:
        key = (line.slot, line.tenant_id, line.outcome, line.reason)
        assert key not in by_key
        by_key[key] = line.sums
    return by_key


def added_up(calls: Iterable[Made], period: Period, grouping: Grouping, rules: Rules) -> dict[Key, Sums]:
    """Return the report that is right: each call's time minute by minute, each in the slot the clock shows.

    Periods must begin and end on whole minutes or between calls; clocks change on whole minutes anyway.
    """
    sums: dict[Key, Sums] = defaultdict(Sums)
    for call in calls:
        end_ms = call.start_ms + call.duration_ms
        rule = rules.rounding(call.tenant_id, call.start_ms)
        cost_ms = rule.rounded(call.duration_ms)
        starts_within = period.start_ms <= call.start_ms < period.end_ms
        if starts_within:
            one = Sums(1, int(call.answered), int(call.outcome is None))
            sums[_key(call, call.start_ms, period.zone, grouping)].add(one)
        if rule.by_start:
            if starts_within:
                whole = Sums(0, 0, 0, call.duration_ms, cost_ms)
                sums[_key(call, call.start_ms, period.zone, grouping)].add(whole)
            continue
        parts: dict[Key, Sums] = defaultdict(Sums)
        for at_ms, until_ms in pairwise(_minutes(call.start_ms, end_ms)):
            if period.start_ms <= at_ms < period.end_ms:
                part, more = until_ms - at_ms, cost_ms - call.duration_ms if until_ms == end_ms else 0
                parts[_key(call, at_ms, period.zone, grouping)].add(Sums(0, 0, 0, part, part + more))
        for key, found in parts.items():
            found.split_calls = int(found.duration_ms < call.duration_ms)
            sums[key].add(found)
    return dict(sums)


def clock_hour(at_ms: int, zone: ZoneInfo) -> str:
    """The hour the clock shows at a moment, with the offset it has then."""
    shown = moment(at_ms, zone)
    return f"{shown:%Y-%m-%dT%H}:00:00{shown.isoformat()[-6:]}"


def _minutes(start_ms: int, end_ms: int) -> list[int]:
    whole = range((start_ms // 60_000 + 1) * 60_000, end_ms, 60_000)
    return [start_ms, *whole, end_ms] if end_ms > start_ms else []


def _key(call: Made, at_ms: int, zone: ZoneInfo, grouping: Grouping) -> Key:
    slot = None
    if Dimension.MONTH in grouping.dimensions:
        slot = f"{moment(at_ms, zone):%Y-%m}"
    if Dimension.DAY in grouping.dimensions:
        slot = moment(at_ms, zone).date().isoformat()
    if Dimension.HOUR in grouping.dimensions:
        slot = clock_hour(at_ms, zone)
    outcome = (call.outcome.value if call.outcome else "open", call.reason) if grouping.by_outcome else (None, None)
    return (slot, call.tenant_id if grouping.by_tenant else None, *outcome)
