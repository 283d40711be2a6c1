"""The calls behind a difference: those one side knows and the other does not."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from service.reconciliation.records import Recorded, RecordsLedger
from telemetry.calls.call import CallSnapshot
from telemetry.recent.calls import RecentCalls
from telemetry.recent.record import CallSummary
from telemetry.recent.search import OVER, CallQuery
from telemetry.semconv.attributes import TenantId

LOOKED_AT: Final = 10_000
"""Calls of one tenant that are held against each other; the latest."""

MAX_TENANTS: Final = 20
"""Tenants whose calls are; those of further ones are not looked at until these are right."""


class Finding(StrEnum):
    """The kinds of fault that a call can have."""

    NO_RECORD = "no_record"
    """This process has counted it, and there is no row."""
    HELD_ELSEWHERE = "held_elsewhere"
    """This process has counted it, and the row is another process's."""
    NOT_COUNTED = "not_counted"
    """There is a row under this process's name, and the process does not know the call."""
    OTHER_STATE = "other_state"
    """The row has the call in another state than the process."""
    OTHER_TENANT = "other_tenant"
    NOT_SENT = "not_sent"
    """The row is of the last second of a process that was killed, which may not have told the fleet's store of it."""


@dataclass(frozen=True, slots=True)
class FoundCall:
    """A call on which the process and its records do not agree."""

    call_id: str
    tenant_id: str
    finding: Finding
    process: str | None
    """The state in which this process has it; ``None`` if it does not know it."""
    records: str | None
    """The state in which the records have it."""


@dataclass(frozen=True, slots=True)
class Known:
    """A call as this process remembers it."""

    call_id: str
    tenant_id: str
    state: str


def not_running(
    before: Iterable[CallSnapshot], after: Iterable[CallSnapshot], recorded: Iterable[Recorded]
) -> list[Known]:
    """Return calls in hand before and after the records were read, of which those do not say that they run here."""
    still, running = {call.call_id for call in after}, {row.call_id for row in recorded}
    return [
        Known(call.call_id, call.tenant_id, call.state)
        for call in before
        if call.call_id in still and call.call_id not in running
    ]


def unknown_open(
    before: Iterable[CallSnapshot], after: Iterable[CallSnapshot], recorded: Iterable[Recorded]
) -> list[FoundCall]:
    """Return rows that say a call runs here, which it did neither before nor after they were read.

    Calls being taken over are in no hand yet.
    """
    held = {call.call_id for calls in (before, after) for call in calls}
    return [
        FoundCall(row.call_id, row.tenant_id, Finding.NOT_COUNTED, None, row.state)
        for row in recorded
        if row.call_id not in held and not row.taken_over
    ]


class CallNames:
    """Finds the calls behind what does not agree, among those this process remembers."""

    def __init__(self, recent: RecentCalls, records: RecordsLedger, instance_id: str) -> None:
        self._recent = recent
        self._records = records
        self._instance_id = instance_id

    def remembered(self, tenants: Iterable[str]) -> dict[str, list[CallSummary]]:
        """Return these tenants' calls that are over, as this process has them."""
        return {tenant: self._over(tenant) for tenant in list(tenants)[:MAX_TENANTS]}

    async def behind(self, remembered: Mapping[str, Sequence[CallSummary]], since_ms: int) -> list[FoundCall]:
        """Return the calls that the records have otherwise, and further ones that they have alone.

        The records must have been written since these were read. Raises what the database raises.
        """
        found: list[FoundCall] = []
        for tenant, calls in remembered.items():
            found += await self._differing(calls)
            found += await self._unheard(tenant, calls, since_ms)
        return found

    async def explained(self, calls: Iterable[Known]) -> list[FoundCall]:
        """Return the recorded state of calls that the records do not have as running here."""
        known = list(calls)
        rows = await self._records.known(call.call_id for call in known)
        return [found for call in known if (found := self._compared(call, rows.get(call.call_id))) is not None]

    def _over(self, tenant: str) -> list[CallSummary]:
        query = CallQuery(states=OVER, tenant_id=TenantId(tenant))
        return list(self._recent.search(query, limit=LOOKED_AT).calls)

    async def _differing(self, calls: Sequence[CallSummary]) -> list[FoundCall]:
        return await self.explained(Known(call.call_id, call.tenant_id, call.state) for call in calls)

    async def _unheard(self, tenant: str, calls: Sequence[CallSummary], since_ms: int) -> list[FoundCall]:
        """Return rows of calls that this process would remember if it had had them."""
        heard = {call.call_id for call in calls}
        oldest_ms = min((call.received.unix_ms for call in calls), default=since_ms)
        complete = not self._recent.size.evicted
        return [
            FoundCall(row.call_id, row.tenant_id, Finding.NOT_COUNTED, None, row.state)
            for row in await self._records.latest(tenant, LOOKED_AT)
            if row.call_id not in heard
            and (complete or row.received_ms >= oldest_ms)
            and self._recent.call(row.call_id) is None
        ]

    def _compared(self, call: Known, row: Recorded | None) -> FoundCall | None:
        def found(finding: Finding) -> FoundCall:
            return FoundCall(call.call_id, call.tenant_id, finding, call.state, None if row is None else row.state)

        if row is None:
            return found(Finding.NO_RECORD)
        if row.instance_id != self._instance_id:
            return found(Finding.HELD_ELSEWHERE)
        if row.tenant_id != call.tenant_id:
            return found(Finding.OTHER_TENANT)
        return found(Finding.OTHER_STATE) if row.state != call.state else None
