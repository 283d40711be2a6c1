"""Asking the store about new calls: those that come at the same time share one script, and none waits for long."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from functools import partial
from typing import Any, Final

from service.fleet.errors import StoreAwayError
from service.fleet.held import HeldCalls
from service.fleet.member import Member
from service.fleet.store import AT_ONCE, Acquired, Answer, Decision, HeldCall, SlotStore, UnregisteredError, Wanted
from service.periodic import NEVER, PeriodicWorker

_logger = logging.getLogger(__name__)

DECISION_SECONDS: Final = 0.05
"""Seconds the store may take to answer before a call is decided upon without it."""

_SLICES: Final = 5
# The wait is cut up, each part at least one turn of the event loop: a process that stands still itself, as in a full
# garbage collection, does not take the store for slow because of it.

_TRIES: Final = 3
# A connection that broke, or an epoch that was fenced, is followed by a heartbeat and another try, in the same wait.


class Unanswered(Enum):
    """The causes of a decision without the store."""

    AWAY = auto()
    """A heartbeat has failed, and none has come through since."""
    IN_DOUBT = auto()
    """This one got no answer in time: the store may be there for all others."""


@dataclass(slots=True, eq=False)
class _Asked:
    wanted: Wanted
    total_limit: int
    until: int
    """The end of its wait; see :class:`_Patience`."""
    answer: asyncio.Future[Answer | Unanswered]


class _Patience:
    """Waits for the store in slices, and counts them: what calls have waited is what was counted meanwhile.

    Not by the clock: a call that had to wait for this process itself has not waited for the store.
    """

    def __init__(self) -> None:
        self.waited = 0
        """Slices since the start."""

    async def wait_for(self, task: asyncio.Future[Any], until: int, slice_seconds: float) -> bool:
        """Wait for a task until so many slices have passed, and for one at least; return true once it is done."""
        while not task.done():
            self.waited += 1
            await asyncio.wait([task], timeout=slice_seconds)
            if self.waited >= until:
                break
        return task.done()


class SlotAsking:
    """The questions of one process to the store.

    Args:
        store: the fleet's store.
        member: this process.
        held: the slots it holds; those that the store gives are added.
        let_go: gives back what the store may have given to a call that is not let in.
    """

    def __init__(self, store: SlotStore, member: Member, held: HeldCalls, let_go: Callable[[Wanted], None]) -> None:
        self._store = store
        self._member = member
        self._held = held
        self._let_go = let_go
        self.decision_seconds = DECISION_SECONDS
        """Seconds the store may take to answer about calls."""
        self._asked: list[_Asked] = []
        self._patience = _Patience()
        self._late: set[asyncio.Task[Acquired]] = set()
        self.worker = PeriodicWorker(self._ask_some, interval=NEVER, failed=_log, name="callscope-fleet-asking")

    @property
    def late(self) -> int:
        """Questions whose answers are still to come, and that no call waits for any more."""
        return len(self._late)

    async def stop(self) -> None:
        """Ask no more; whoever waits gets no answer."""
        await self.worker.stop()
        _leave(self._asked, Unanswered.IN_DOUBT)
        for task in self._late:
            task.cancel()

    async def ask(self, wanted: Wanted, total_limit: int) -> Answer | Unanswered:
        """Return the store's answer about a new call, or the cause of there being none."""
        if self._member.away:
            return Unanswered.AWAY
        answer = asyncio.get_running_loop().create_future()
        asked = _Asked(wanted, total_limit, self._patience.waited + _SLICES, answer)
        self._asked.append(asked)
        self.worker.wake()
        return await asked.answer

    async def _ask_some(self) -> bool:
        asked, self._asked = self._asked[:AT_ONCE], self._asked[AT_ONCE:]
        if asked:
            try:
                await self._ask(asked)
            finally:
                _leave(asked, Unanswered.IN_DOUBT)
        return bool(self._asked)

    async def _ask(self, asked: Sequence[_Asked]) -> None:
        """Ask about these in one script for each limit of the total, which all but never differs."""
        for total_limit in {each.total_limit for each in asked}:
            await self._settle([each for each in asked if each.total_limit == total_limit], total_limit, asked[0].until)

    async def _settle(self, together: Sequence[_Asked], total_limit: int, until: int) -> None:
        for _ in range(_TRIES):
            if self._member.asserting and not await self._heartbeat(until):
                return
            if self._member.away:
                # Nobody waits for a store that is known to be away.
                _leave(together, Unanswered.AWAY)
                return
            if await self._answered(together, total_limit, until) or not await self._heartbeat(until):
                return

    async def _answered(self, together: Sequence[_Asked], total_limit: int, until: int) -> bool:
        """Ask once; return false if the store refused or could not be reached, so that a heartbeat is to tell."""
        floor, holder = self._member.known_writes, self._member.holder
        wanted = [each.wanted for each in together]
        asking = asyncio.create_task(self._store.acquire(holder, wanted, total_limit), name="callscope-acquire")
        if not await self._waited_for(asking, until):
            self._late.add(asking)
            asking.add_done_callback(partial(self._came_late, wanted))
            self._member.doubt(StoreAwayError(f"no answer within {self.decision_seconds * 1000:.0f} ms"))
            return True
        try:
            acquired = asking.result()
        except (UnregisteredError, StoreAwayError) as error:
            # It may have been carried out all the same; whoever is not let in is released.
            self._member.doubt(error)
            return False
        if holder != self._member.holder:
            return False  # fenced meanwhile: asked again, these keep what they were given
        if acquired.before < floor:
            # A store that has lost slots lets in too many. These calls are refused, as they are not asserted.
            self._member.lost_writes()
            return True
        self._take(together, acquired)
        return True

    async def _heartbeat(self, until: int) -> bool:
        """Wait for the heartbeat that is to tell whether the store is there; return false if that takes too long."""
        heartbeat = asyncio.ensure_future(self._member.asked())
        try:
            return await self._waited_for(heartbeat, until)
        finally:
            heartbeat.cancel()

    async def _waited_for(self, task: asyncio.Future[Any], until: int) -> bool:
        return await self._patience.wait_for(task, until, self.decision_seconds / _SLICES)

    def _take(self, asked: Sequence[_Asked], acquired: Acquired) -> None:
        member = self._member
        member.acknowledged(acquired.writes)
        member.born(acquired.born_seconds)
        for each, answer in zip(asked, acquired.answers, strict=True):
            wanted, held = each.wanted, answer.decision is Decision.HELD
            if held and each.answer.done():
                self._let_go(wanted)  # whoever asked has gone
            elif held:
                self._held.add(HeldCall(wanted.call_id, wanted.claim, wanted.tenant_id, wanted.certain))
            if not member.settling:
                member.seen.saw_tenant(wanted.tenant_id, answer.of_tenant, self._held.of(wanted.tenant_id))
                member.seen.saw(answer.total, len(self._held))
            if not each.answer.done():
                each.answer.set_result(answer)

    def _came_late(self, wanted: Sequence[Wanted], asking: asyncio.Task[Acquired]) -> None:
        """Give back what a late answer, or none at all, may have taken for calls that are not let in."""
        self._late.discard(asking)
        if not asking.cancelled():
            asking.exception()  # marks it as retrieved
        for each in wanted:
            if each.call_id not in self._held:
                self._let_go(each)


def _leave(asked: Sequence[_Asked], cause: Unanswered) -> None:
    for each in asked:
        if not each.answer.done():
            each.answer.set_result(cause)


def _log(error: Exception) -> None:
    _logger.error("asking the fleet's store failed", exc_info=error)
