"""Goes on with the calls that other processes have let go of: crashed, killed, or replaced by this one."""

import asyncio
import logging
from http import HTTPStatus
from typing import Final

from service.calls.attendant import Attendant
from service.calls.capacity import Capacity
from service.calls.manager import CallManager
from service.carriers.carrier import CarrierError
from service.database import DATABASE_ERRORS
from service.records.calls import CallRecords
from service.records.recovery import OrphanedCall
from service.tenants.repository import TenantRepository
from service.tenants.tenant import CallTenant
from telemetry.attributes import CallId
from telemetry.tracker import CallTracker

_logger = logging.getLogger(__name__)

AT_ONCE: Final = 16
"""Sessions being attached to at the same time; the calls that come in new have the carrier's ear too."""


class Recovery:
    """Looks for calls left open, attaches to those whose session lives, ends the rest at their last sign of life."""

    def __init__(
        self,
        records: CallRecords,
        tenants: TenantRepository,
        tracker: CallTracker,
        capacity: Capacity,
        manager: CallManager,
        attendant: Attendant,
        *,
        stale_seconds: float,
    ) -> None:
        self._records = records
        self._tenants = tenants
        self._tracker = tracker
        self._capacity = capacity
        self._manager = manager
        self._attendant = attendant
        self._stale_seconds = stale_seconds
        self._left: dict[CallId, OrphanedCall] = {}
        self._attaching = asyncio.Semaphore(AT_ONCE)

    async def look(self) -> None:
        """Take over what was left, and try again what could not be decided last time."""
        if self._manager.draining:
            return
        self._left |= {orphan.call_id: orphan for orphan in await self._records.recover()}
        await asyncio.gather(*(self._take(orphan) for orphan in list(self._left.values())))

    async def _take(self, orphan: OrphanedCall) -> None:
        async with self._attaching:
            try:
                await self._go_on(orphan)
            except CarrierError as error:
                if error.status != HTTPStatus.NOT_FOUND and not self._stale(orphan):
                    return
                self._records.end_as_stale(orphan)
            except DATABASE_ERRORS as error:
                _logger.warning("a call could not be taken over yet: %s", type(error).__name__)
                return
        del self._left[orphan.call_id]

    async def _go_on(self, orphan: OrphanedCall) -> None:
        if self._manager.has(orphan.call_id):
            return
        tenant = await self._tenants.by_id(orphan.tenant_id) or _gone(orphan)
        attached = await self._attendant.attach(orphan.call_id)
        since = orphan.last_sign_of_life(self._tracker.clock.now())
        call = self._tracker.received(orphan.call_id, orphan.tenant_id, at=since, continues=_trace_of(orphan))
        call.accepted(since, resumed=True)
        call.started(since)
        call.heartbeat()
        self._manager.resume(call, tenant, attached, self._capacity.occupy(orphan.tenant_id))

    def _stale(self, orphan: OrphanedCall) -> bool:
        now = self._tracker.clock.now()
        return now.since(orphan.last_sign_of_life(now)) > self._stale_seconds


def _trace_of(orphan: OrphanedCall) -> str | None:
    if orphan.trace_id is None or orphan.span_id is None:
        return None
    return f"00-{orphan.trace_id}-{orphan.span_id}-01"


def _gone(orphan: OrphanedCall) -> CallTenant:
    """The tenant was deleted meanwhile; its call runs on without anywhere to transfer to."""
    return CallTenant(
        tenant_id=orphan.tenant_id,
        name=orphan.tenant_id,
        enabled=False,
        max_concurrent_calls=None,
        transfer_targets={},
        features={},
    )
