"""Goes on with the calls that other processes have let go of: crashed, killed, or replaced by this one."""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import replace
from http import HTTPStatus
from typing import Final

from service.gateway.admission import IncomingCall, TenantSource, keeps_content, tenant_reached
from service.gateway.capacity import CapacityRule, RunningCall
from service.gateway.carriers.carrier import CarrierError
from service.gateway.manager import CallManager
from service.gateway.session_manager import Attached, SessionManager
from service.records.calls import CallRecords
from service.records.instances import OrphanedCall
from service.records.record import StoredCall
from service.storage.database import DATABASE_ERRORS
from service.tenants.errors import TenantLookupError
from service.tenants.repository import TenantRepository
from service.tenants.tenant import CallTenant
from telemetry.calls.call import Call
from telemetry.calls.lifecycle import CallState
from telemetry.calls.tracker import CallTracker
from telemetry.clock import Instant
from telemetry.semconv.attributes import CallId

_logger = logging.getLogger(__name__)

AT_ONCE: Final = 16
"""Sessions being attached to at the same time; the calls that come in new have the carrier's ear too."""


class Recovery:
    """Looks for calls left open, and attaches to those whose session lives.

    Of the others, those that nobody decided about are decided about now; the rest end at their last activity.
    """

    def __init__(
        self,
        records: CallRecords,
        tenants: TenantRepository,
        numbers: TenantSource,
        tracker: CallTracker,
        capacity: CapacityRule,
        manager: CallManager,
        session_manager: SessionManager,
        *,
        stale_seconds: float,
    ) -> None:
        self._records = records
        self._tenants = tenants
        self._numbers = numbers
        self._tracker = tracker
        self._capacity = capacity
        self._manager = manager
        self._session_manager = session_manager
        self._stale_seconds = stale_seconds
        self._left: dict[CallId, OrphanedCall] = {}
        manager.leave_to_recovery(self._left, self.announced_again)
        self._attaching = asyncio.Semaphore(AT_ONCE)

    @property
    def left(self) -> Sequence[StoredCall]:
        """The records of calls that this process has taken over and not attached to yet."""
        return [orphan.record for orphan in list(self._left.values()) if orphan.record is not None]

    async def look(self) -> None:
        """Take over what was left, and try again what could not be decided last time."""
        if self._manager.draining:
            return
        found = await self._records.recover()
        self._left |= {orphan.call_id: orphan for orphan in found}
        # Before anybody else is let in: these calls run on at the carrier. An undecided one has no place to keep.
        running = [orphan for orphan in found if orphan.state is not CallState.PENDING]
        await self._capacity.take_over([RunningCall(orphan.call_id, orphan.tenant_id) for orphan in running])
        orphans = list(self._left.values())
        try:
            tenants = {tenant_id: await self._tenants.by_id(tenant_id) for tenant_id in {o.tenant_id for o in orphans}}
        except DATABASE_ERRORS as error:
            _logger.warning("calls could not be taken over yet: %s", type(error).__name__)
            return
        await asyncio.gather(*(self._take(orphan, tenants[orphan.tenant_id] or _gone(orphan)) for orphan in orphans))

    async def announced_again(self, incoming: IncomingCall) -> None:
        """Go on with a call that is announced once more: its announcement names the dialled number whole."""
        if incoming.call_id not in self._left:
            await self.look()
        orphan = self._left.get(incoming.call_id)
        if orphan is None or orphan.looked_up:
            return
        try:
            reached = await tenant_reached(self._numbers, incoming.dialled)
        except TenantLookupError as error:
            _logger.warning("a call could not be taken over yet: %s", type(error).__name__)
            return
        tenant = reached[0] if reached else None
        found = orphan.tenant_id if tenant is None else tenant.tenant_id
        orphan = self._left[incoming.call_id] = replace(orphan, tenant_id=found, looked_up=True)
        await self._take(orphan, tenant or _gone(orphan))

    async def _take(self, orphan: OrphanedCall, tenant: CallTenant) -> None:
        async with self._attaching:
            if self._left.get(orphan.call_id) is not orphan:
                return
            decided = self._tracker.knows(orphan.call_id) or await self._go_on(orphan, tenant)
            if decided:
                self._left.pop(orphan.call_id, None)
                self._capacity.freed(orphan.call_id)

    async def _go_on(self, orphan: OrphanedCall, tenant: CallTenant) -> bool:
        """Attach to the call, or do what its not being there calls for; return false if it cannot be said yet."""
        if not orphan.looked_up and not self._stale(orphan):
            # It was never accepted, and who was called is known again once it is announced again.
            return False
        try:
            attached = await self._session_manager.attach(orphan.call_id, greet=orphan.started_ms is None)
        except CarrierError as error:
            return self._not_there(orphan, tenant, known=error.status == HTTPStatus.NOT_FOUND)
        self._resume(orphan, tenant, attached)
        return True

    def _resume(self, orphan: OrphanedCall, tenant: CallTenant, attached: Attached) -> None:
        now = self._tracker.clock.now()
        since = now if orphan.started_ms is None else orphan.billed_until(now)
        call = self._taken_over(orphan, tenant, orphan.state, since)
        if orphan.state is CallState.PENDING:
            call.accepted(since, resumed=True)
        if orphan.state is not CallState.STARTED:
            # Nobody has counted it as started: it is no part of what was taken over.
            call.started(since)
        call.heartbeat()
        self._manager.resume(call, tenant, attached, self._capacity.occupy(orphan.call_id, orphan.tenant_id))

    def _not_there(self, orphan: OrphanedCall, tenant: CallTenant, *, known: bool) -> bool:
        """End a call that has no session, unless its caller was never answered and may still be waiting."""
        if self._stale(orphan):
            self._lose(orphan)
        elif not known:
            return False
        elif orphan.state is CallState.PENDING:
            self._manager.take_up(self._taken_over(orphan, tenant, CallState.PENDING), tenant)
        else:
            self._lose(orphan)
        return True

    def _lose(self, orphan: OrphanedCall) -> None:
        """End the call on record at its last activity, and tell of it."""
        self._records.end_as_stale(orphan)
        now = self._tracker.clock.now()
        last, before = orphan.last_activity(now), orphan.before(now)
        self._tracker.lost(
            orphan.call_id,
            orphan.tenant_id,
            orphan.state,
            before,
            at=last,
            continues=_trace_of(orphan),
            direction=orphan.direction,
            source=orphan.source,
        )

    def _taken_over(
        self, orphan: OrphanedCall, tenant: CallTenant, state: CallState, since: Instant | None = None
    ) -> Call:
        now = self._tracker.clock.now()
        last = orphan.last_activity(now)
        return self._tracker.taken_over(
            orphan.call_id,
            orphan.tenant_id,
            state,
            at=last if since is None else min(since, last),
            since=since,
            before=orphan.before(now),
            model=self._session_manager.model,
            continues=_trace_of(orphan),
            content=keeps_content(tenant),
            direction=orphan.direction,
            source=orphan.source,
        )

    def _stale(self, orphan: OrphanedCall) -> bool:
        now = self._tracker.clock.now()
        return now.since(orphan.last_activity(now)) > self._stale_seconds


def _trace_of(orphan: OrphanedCall) -> str | None:
    if orphan.trace_id is None or orphan.span_id is None:
        return None
    return f"00-{orphan.trace_id}-{orphan.span_id}-01"


def _gone(orphan: OrphanedCall) -> CallTenant:
    """Return a stand-in for a tenant that was deleted meanwhile, with nowhere to transfer to."""
    return CallTenant(
        tenant_id=orphan.tenant_id,
        name=orphan.tenant_id,
        enabled=False,
        max_concurrent_calls=None,
        transfer_targets={},
        features={},
    )
