"""The capacity rule of a fleet: a slot is decided upon in the store, and while that is away by what was seen last."""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final, Protocol

from service.fleet.asking import SlotAsking, Unanswered
from service.fleet.errors import StoreAwayError
from service.fleet.held import HeldCalls
from service.fleet.member import PROBE_SECONDS, Member
from service.fleet.sharing import OnOutage
from service.fleet.store import AT_ONCE, Decision, HeldCall, Hold, Released, SlotStore, UnregisteredError, Wanted
from service.gateway.capacity import InDoubt, RunningCall, Slot
from service.periodic import PeriodicWorker
from telemetry.calls.events import LimitHit
from telemetry.semconv.attributes import CallId, CapacityScope, TenantId

_logger = logging.getLogger(__name__)

MAX_RELEASING: Final = 10_000
"""Slots that wait to be given back; further ones are found when process and store are compared."""


@dataclass(slots=True)
class _Leaving:
    """A slot that is to be given back."""

    claim: int
    tenant_id: TenantId | None
    """None if it was never held here, though the store may have given it."""
    moment: int
    """The moment, of what was seen of the fleet, at which it was given up."""


class Claims(Protocol):
    """The claims of calls; :class:`service.records.calls.CallRecords` has them."""

    def claim_of(self, call_id: CallId) -> int:
        """Return the claim this process holds the call under, in microseconds; 0 for one without a record."""
        ...

    def certain(self, call_id: CallId) -> bool:
        """Return true unless the call was taken without the database saying whose it is."""
        ...

    def is_lost(self, call_id: CallId) -> bool:
        """Return true if the call was let go of, because another process owns it."""
        ...

    def let_go(self, call_id: CallId) -> None:
        """Leave the call to the process that owns it."""
        ...


class FleetCapacity:
    """The slots of this process."""

    def __init__(
        self, store: SlotStore, member: Member, held: HeldCalls, claims: Claims, on_outage: OnOutage = OnOutage.SHARE
    ) -> None:
        self._store = store
        self._member = member
        self._held = held
        self._claims = claims
        self.on_outage = on_outage
        self.asking = SlotAsking(store, member, held, self._let_go_of)
        """The questions to the store about new calls."""
        self._releasing: dict[CallId, _Leaving] = {}
        self._holding = 0
        self._handed_over = False
        self.decided_locally = 0
        """Decisions since the start that were made while the store was away."""
        self.in_doubt = 0
        """Calls since the start about which the store did not answer in time, while it was not known to be away."""
        self._giving_back = PeriodicWorker(
            self._release_some, interval=PROBE_SECONDS, failed=self._not_released, name="callscope-fleet-releasing"
        )

    @property
    def in_use(self) -> int:
        """Slots that this process holds."""
        return len(self._held)

    def under_way(self) -> bool:
        """Return true while changes of slots are under way to the store, or may be."""
        return bool(self._held.asking or self._releasing or self._holding or self.asking.late)

    def told(self) -> Mapping[str, int | None]:
        """Return the slots held, and the store's changes of them by which its number can be compared with this one.

        These are None while some are under way.
        """
        return {"held": self.in_use, "writes": None if self.under_way() else self._member.known_writes}

    def start(self) -> None:
        """Begin to ask the store; needs the running loop."""
        self.asking.worker.start()
        self._giving_back.start()

    def hand_over(self) -> None:
        """Leave the slots of the calls that run to the process that comes next: from here on none is given back."""
        self._handed_over = True

    async def stop(self, budget_seconds: float) -> None:
        """Give back what waits, within the budget, and stop."""
        if self._releasing and not self._member.away:
            await asyncio.wait([asyncio.create_task(self._giving_back.passed())], timeout=budget_seconds)
        await self.asking.stop()
        await self._giving_back.stop()

    # New calls --------------------------------------------------------------------------------------------------------

    async def admit(
        self, call_id: CallId, tenant_id: TenantId, *, limit: int, total_limit: int
    ) -> Slot | LimitHit | InDoubt:
        """Reserve a slot; returns the limit that stands in the way if there is one, or that nobody knows in time."""
        wanted = Wanted(
            call_id, self._claims.claim_of(call_id), tenant_id, limit, certain=self._claims.certain(call_id)
        )
        self._held.asking.add(call_id)
        try:
            answer = await self.asking.ask(wanted, total_limit)
        finally:
            self._held.asking.discard(call_id)
        if isinstance(answer, Unanswered):
            return self._decided_here(wanted, total_limit, answer)
        if answer.decision is Decision.HELD:
            # An emptied store does not know yet what others hold.
            hit = self._hit_here(wanted, total_limit, holds=True) if self._member.settling else None
            if hit is not None:
                self._let_go_of(wanted)
                return hit
            return self._slot(wanted)
        if answer.decision is Decision.OTHERS:
            # Cancels the task that runs here.
            self._claims.let_go(call_id)
            await asyncio.sleep(0)
        tenant_hit = answer.decision is Decision.TENANT
        scope = CapacityScope.TENANT if tenant_hit else CapacityScope.GLOBAL
        return LimitHit(scope, limit if tenant_hit else total_limit, answer.of_tenant if tenant_hit else answer.total)

    def _decided_here(self, wanted: Wanted, total_limit: int, cause: Unanswered) -> Slot | LimitHit | InDoubt:
        """Decide about a call that the store gave no answer about."""
        if self._held.is_running(wanted.call_id):
            return self._slot(wanted)
        if cause is Unanswered.IN_DOUBT:
            self.in_doubt += 1
            if self.on_outage is not OnOutage.OPEN:
                # Others may be let in by the store at this moment: no share is certain.
                self._let_go_of(wanted)
                return InDoubt()
        hit = self._hit_here(wanted, total_limit, holds=False)
        if hit is not None:
            self._let_go_of(wanted)
            return hit
        self._held.add(HeldCall(wanted.call_id, wanted.claim, wanted.tenant_id, wanted.certain))
        self._member.assert_next()
        return self._slot(wanted)

    def _hit_here(self, wanted: Wanted, total_limit: int, *, holds: bool) -> LimitHit | None:
        """Return the limit that stands in the way as far as was seen; ``holds`` if the call counts already."""
        self.decided_locally += 1
        seen, counted = self._member.seen, int(holds)
        of_tenant = self._held.of(wanted.tenant_id) - counted
        allowed = min(wanted.limit, seen.allowed_of(self.on_outage, wanted.tenant_id, wanted.limit))
        if of_tenant >= allowed and wanted.limit < total_limit:
            return LimitHit(CapacityScope.TENANT, allowed, of_tenant)
        in_use, allowed = len(self._held) - counted, min(total_limit, seen.allowed(self.on_outage, total_limit))
        return LimitHit(CapacityScope.GLOBAL, allowed, in_use) if in_use >= allowed else None

    def _slot(self, wanted: Wanted) -> Slot:
        return Slot(partial(self._give_back, wanted.call_id))

    # Calls of others --------------------------------------------------------------------------------------------------

    def occupy(self, call_id: CallId, tenant_id: TenantId) -> Slot:
        """Take a slot for a call that runs already, whatever the limits; the store hears of it soon."""
        held = HeldCall(call_id, self._claims.claim_of(call_id), tenant_id)
        known = self._held.is_taken_over(call_id)
        self._held.add(held)
        if not known:
            self._member.assert_soon()
        return Slot(partial(self._give_back, call_id))

    async def take_over(self, calls: Sequence[RunningCall]) -> None:
        """Hold the slots of running calls of a dead process, each until it is occupied or freed."""
        taken = [HeldCall(call.call_id, self._claims.claim_of(call.call_id), call.tenant_id) for call in calls]
        taken = [call for call in taken if self._held.take_over(call)]
        if self._member.away:
            return  # all is asserted once it is back
        self._holding += 1
        try:
            for start in range(0, len(taken), AT_ONCE):
                floor, holder = self._member.known_writes, self._member.holder
                hold = await self._store.hold(holder, taken[start : start + AT_ONCE])
                self._changed(holder, floor, hold)
        except (UnregisteredError, StoreAwayError) as error:
            self._member.assert_soon()
            self._member.doubt(error)
        finally:
            self._holding -= 1

    def freed(self, call_id: CallId) -> None:
        """Give back the slot of a call that was taken over and turned out to be over."""
        if self._held.is_taken_over(call_id):
            self._give_back(call_id)

    # Giving back ------------------------------------------------------------------------------------------------------

    def _give_back(self, call_id: CallId) -> None:
        held = self._held.forget(call_id)
        if held is None or self._handed_over:
            return
        if self._claims.is_lost(call_id):
            # The slot is for the one that has the call now to take; freed here, it could go to a third call.
            self._member.seen.gave_up(held.tenant_id, self._member.seen.moment)
        else:
            self._release(call_id, held.claim, held.tenant_id)

    def _let_go_of(self, wanted: Wanted) -> None:
        self._held.forget(wanted.call_id)
        self._release(wanted.call_id, wanted.claim, None)

    def _release(self, call_id: CallId, claim: int, tenant_id: TenantId | None) -> None:
        if len(self._releasing) < MAX_RELEASING:
            self._releasing[call_id] = _Leaving(claim, tenant_id, self._member.seen.moment)
        self._giving_back.wake()

    async def _release_some(self) -> bool:
        if not self._releasing or self._member.away:
            return False
        batch = dict(list(self._releasing.items())[:AT_ONCE])
        for leaving in batch.values():
            if leaving.tenant_id is not None:
                # Whether or not the answer comes: from here on the slot may be anybody's.
                self._member.seen.gave_up(leaving.tenant_id, leaving.moment)
                leaving.tenant_id = None
        floor, holder = self._member.known_writes, self._member.holder
        moment = self._member.seen.moment
        released = await self._store.release(holder, {call_id: leaving.claim for call_id, leaving in batch.items()})
        self._changed(holder, floor, released)
        for call_id, leaving in batch.items():
            if self._releasing.get(call_id) is leaving:
                del self._releasing[call_id]
        if not self._member.settling and moment == self._member.seen.moment:
            # Places given back are everybody's: a share counts on what it has left of them, as on any free place.
            self._member.seen.saw(released.total, len(self._held))
            for tenant_id, in_use in released.tenants.items():
                self._member.seen.saw_tenant(tenant_id, in_use, self._held.of(tenant_id))
        return bool(self._releasing)

    def _changed(self, holder: str, floor: int, change: Hold | Released) -> None:
        if holder != self._member.holder:
            return  # under an epoch that is over, of which the store keeps no count
        if change.before < floor:
            self._member.lost_writes()
        self._member.acknowledged(change.writes)

    def store_is_back(self) -> None:
        """Give back what waited while the store was away."""
        self._giving_back.wake()

    def _not_released(self, error: Exception) -> None:
        # What failed is tried again soon, as it still waits.
        if isinstance(error, StoreAwayError):
            self._member.doubt(error)
        else:
            _logger.error("giving slots back to the fleet's store failed", exc_info=error)
