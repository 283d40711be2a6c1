"""The capacity rule of a fleet: a slot is decided upon in the store, and while that is away by what was seen last."""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final, Protocol

from service.fleet.errors import StoreAwayError
from service.fleet.held import HeldCalls
from service.fleet.member import Member
from service.fleet.sharing import OnOutage
from service.fleet.store import AT_ONCE, Acquired, Answer, Decision, HeldCall, SlotStore, UnregisteredError, Wanted
from service.gateway.capacity import RunningCall, Slot
from service.periodic import NEVER, PeriodicWorker
from telemetry.calls.events import LimitHit
from telemetry.semconv.attributes import CallId, CapacityScope, TenantId

_logger = logging.getLogger(__name__)

DECISION_SECONDS: Final = 0.05
"""Seconds the store may take to answer before a call is decided upon without it."""

_SLICES: Final = 5
# The wait is cut up, each part at least one turn of the event loop: a process that stands still itself, as in a full
# garbage collection, does not take the store for away because of it.

MAX_RELEASING: Final = 10_000
"""Slots that wait to be given back; further ones are found when process and store are compared."""


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


@dataclass(slots=True, eq=False)
class _Asked:
    wanted: Wanted
    total_limit: int
    answer: asyncio.Future[Answer | None]


class FleetCapacity:
    """The slots of this process. All calls that ask at the same time share one script."""

    def __init__(
        self, store: SlotStore, member: Member, held: HeldCalls, claims: Claims, on_outage: OnOutage = OnOutage.SHARE
    ) -> None:
        self._store = store
        self.decision_seconds = DECISION_SECONDS
        """Seconds the store may take to answer about calls."""
        self._member = member
        self._held = held
        self._claims = claims
        self.on_outage = on_outage
        self._asked: list[_Asked] = []
        self._late: set[asyncio.Task[Acquired]] = set()
        self._releasing: dict[CallId, int] = {}
        self._handed_over = False
        self.decided_locally = 0
        """Decisions since the start that were made without the store."""
        self._asking = PeriodicWorker(self._ask_some, interval=NEVER, failed=_log, name="callscope-fleet-asking")
        self._giving_back = PeriodicWorker(
            self._release_some, interval=NEVER, failed=self._not_released, name="callscope-fleet-releasing"
        )

    @property
    def in_use(self) -> int:
        """Slots that this process holds."""
        return len(self._held)

    def start(self) -> None:
        """Begin to ask the store; needs the running loop."""
        self._asking.start()
        self._giving_back.start()

    def hand_over(self) -> None:
        """Leave the slots of the calls that run to the process that comes next: from here on none is given back."""
        self._handed_over = True

    async def stop(self, budget_seconds: float) -> None:
        """Give back what waits, within the budget, and stop."""
        if self._releasing and not self._member.away:
            await asyncio.wait([asyncio.create_task(self._giving_back.passed())], timeout=budget_seconds)
        await self._asking.stop()
        await self._giving_back.stop()
        _answer_none(self._asked)
        for task in self._late:
            task.cancel()

    # New calls --------------------------------------------------------------------------------------------------------

    async def admit(self, call_id: CallId, tenant_id: TenantId, *, limit: int, total_limit: int) -> Slot | LimitHit:
        """Reserve a slot; returns the limit that stands in the way if there is one."""
        wanted = Wanted(
            call_id, self._claims.claim_of(call_id), tenant_id, limit, certain=self._claims.certain(call_id)
        )
        self._held.asking.add(call_id)
        try:
            answer = await self._answer(wanted, total_limit)
        finally:
            self._held.asking.discard(call_id)
        if answer is None or (answer.decision is Decision.HELD and self._member.settling):
            hit = self._hit_here(wanted, total_limit, holds=answer is not None)
            if hit is not None:
                self._let_go_of(wanted)
                return hit
            if answer is None:
                self._held.add(HeldCall(call_id, wanted.claim, tenant_id, wanted.certain))
            return self._slot(wanted)
        if answer.decision is Decision.HELD:
            return self._slot(wanted)
        if answer.decision is Decision.OTHERS:
            # Cancels the task that runs here.
            self._claims.let_go(call_id)
            await asyncio.sleep(0)
        tenant_hit = answer.decision is Decision.TENANT
        scope = CapacityScope.TENANT if tenant_hit else CapacityScope.GLOBAL
        return LimitHit(scope, limit if tenant_hit else total_limit, answer.of_tenant if tenant_hit else answer.total)

    async def _answer(self, wanted: Wanted, total_limit: int) -> Answer | None:
        """Return the store's answer; None if it does not come in time."""
        if self._member.away:
            return None
        asked = _Asked(wanted, total_limit, asyncio.get_running_loop().create_future())
        self._asked.append(asked)
        self._asking.wake()
        return await asked.answer

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

    # Asking the store -------------------------------------------------------------------------------------------------

    async def _ask_some(self) -> bool:
        if self._member.away:
            # Nobody waits for a store that is known to be away.
            _answer_none(self._asked)
            self._asked = []
            return False
        asked, self._asked = self._asked[:AT_ONCE], self._asked[AT_ONCE:]
        if asked:
            try:
                await self._ask(asked)
            finally:
                _answer_none(asked)
        return bool(self._asked)

    async def _ask(self, asked: Sequence[_Asked]) -> None:
        """Ask about these in one script for each limit of the total, which all but never differs."""
        for total_limit in {each.total_limit for each in asked}:
            together = [each for each in asked if each.total_limit == total_limit]
            floor = self._member.known_writes
            holder = self._member.holder
            asking = asyncio.create_task(
                self._store.acquire(holder, [each.wanted for each in together], total_limit), name="callscope-acquire"
            )
            for _ in range(_SLICES):
                await asyncio.wait([asking], timeout=self.decision_seconds / _SLICES)
                if asking.done():
                    break
            if not asking.done():
                self._late.add(asking)
                asking.add_done_callback(partial(self._came_late, [each.wanted for each in together]))
                self._member.failed(StoreAwayError(f"no answer within {self.decision_seconds * 1000:.0f} ms"))
                return
            try:
                acquired = asking.result()
            except UnregisteredError:
                self._member.failed(StoreAwayError("fenced"))
                return
            except StoreAwayError as error:
                # It may have been carried out all the same; whoever is not held here is released on return.
                self._member.failed(error)
                return
            self._take(together, acquired, floor)

    def _take(self, asked: Sequence[_Asked], acquired: Acquired, floor: int) -> None:
        if acquired.before < floor:
            self._member.lost_writes()
        self._member.acknowledged(acquired.writes)
        self._member.born(acquired.born_seconds)
        for each, answer in zip(asked, acquired.answers, strict=True):
            wanted, held = each.wanted, answer.decision is Decision.HELD
            if held and each.answer.done():
                self._let_go_of(wanted)  # whoever asked has gone
            elif held:
                self._held.add(HeldCall(wanted.call_id, wanted.claim, wanted.tenant_id, wanted.certain))
            if not self._member.settling:
                self._member.seen.saw_tenant(wanted.tenant_id, answer.of_tenant, self._held.of(wanted.tenant_id))
                self._member.seen.saw(answer.total, len(self._held))
            if not each.answer.done():
                each.answer.set_result(answer)

    def _came_late(self, wanted: Sequence[Wanted], asking: asyncio.Task[Acquired]) -> None:
        """Give back what a late answer, or none at all, may have taken for calls that are not let in."""
        self._late.discard(asking)
        if not asking.cancelled():
            asking.exception()  # marks it as retrieved
        for each in wanted:
            if each.call_id not in self._held:
                self._let_go_of(each)

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
        try:
            for start in range(0, len(taken), AT_ONCE):
                writes, _ = await self._store.hold(self._member.holder, taken[start : start + AT_ONCE])
                self._member.acknowledged(writes)
        except UnregisteredError:
            self._member.failed(StoreAwayError("fenced"))
        except StoreAwayError as error:
            self._member.failed(error)

    def freed(self, call_id: CallId) -> None:
        """Give back the slot of a call that was taken over and turned out to be over."""
        if self._held.is_taken_over(call_id):
            self._give_back(call_id)

    # Giving back ------------------------------------------------------------------------------------------------------

    def _give_back(self, call_id: CallId) -> None:
        held = self._held.forget(call_id)
        # The slot of a call that is another's by now is that one's to take; freed here, it could go to a third call.
        if held is not None and not self._handed_over and not self._claims.is_lost(call_id):
            self._release(call_id, held.claim)

    def _let_go_of(self, wanted: Wanted) -> None:
        self._held.forget(wanted.call_id)
        self._release(wanted.call_id, wanted.claim)

    def _release(self, call_id: CallId, claim: int) -> None:
        if len(self._releasing) < MAX_RELEASING:
            self._releasing[call_id] = claim
        self._giving_back.wake()

    async def _release_some(self) -> bool:
        if not self._releasing or self._member.away:
            return False
        batch = dict(list(self._releasing.items())[:AT_ONCE])
        self._member.acknowledged(await self._store.release(self._member.holder, batch))
        for call_id, claim in batch.items():
            if self._releasing.get(call_id) == claim:
                del self._releasing[call_id]
        return bool(self._releasing)

    def store_is_back(self) -> None:
        """Give back what waited while the store was away."""
        self._giving_back.wake()

    def _not_released(self, error: Exception) -> None:
        if isinstance(error, StoreAwayError):
            self._member.failed(error)
        else:
            _log(error)


def _answer_none(asked: Sequence[_Asked]) -> None:
    for each in asked:
        if not each.answer.done():
            each.answer.set_result(None)


def _log(error: Exception) -> None:
    _logger.error("asking the fleet's store failed", exc_info=error)
