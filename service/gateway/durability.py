"""The durability gate: as long as a crash could still lose a call, nobody is told anything about it."""

import asyncio
from enum import Enum, auto
from typing import Final, Protocol

from service.records.calls import Ownership
from service.records.ledger import NewCall
from telemetry.semconv.attributes import CallId

CLAIM_SECONDS: Final = 2.0
"""Seconds the database may take to say whose a call is, before this process's memory decides."""

RECORD_SECONDS: Final = 1.0
"""Seconds a call waits to be on record before anybody is told of it, so that a crash from there on loses nothing."""


class Announced(Enum):
    """The answer to an announcement."""

    TAKEN = auto()
    DUPLICATE = auto()
    REFUSED = auto()
    """No room, draining, or not yet on record: the carrier may ask again."""
    LEFT = auto()
    """Undecided, and of a process that is gone: it is to be recovered."""


class Records(Protocol):
    """The records of calls, as far as the gate needs them; :class:`service.records.calls.CallRecords` has them."""

    async def claim(self, call: NewCall, budget_seconds: float) -> Ownership:
        """Find out whose an announced call is; take it if it is new."""
        ...

    async def ensure_written(self, call_id: CallId, budget_seconds: float) -> object:
        """Wait within the budget until the call outlives this process as it is now."""
        ...

    async def ensure_decidable(self, call_id: CallId, budget_seconds: float) -> object:
        """Wait within the budget until another process could decide about the call."""
        ...

    def decidable(self, call_id: CallId) -> bool:
        """Return true if another process could decide about the call now."""
        ...

    def certain(self, call_id: CallId) -> bool:
        """Return true unless the call was taken without the database saying whose it is."""
        ...

    async def owns(self, call_id: CallId) -> bool:
        """Check that the call is still this process's."""
        ...

    async def check_claims(self) -> None:
        """Let go of every call that is another's by now."""
        ...

    def hurry(self) -> None:
        """Write what waits soon."""
        ...


class DurabilityGate:
    """The calls on their way to being on record, and those who wait for them."""

    __slots__ = ("_records", "_waiting")

    def __init__(self, records: Records) -> None:
        self._records = records
        self._waiting: dict[CallId, asyncio.Future[Announced]] = {}

    # The answer to an announcement ------------------------------------------------------------------------------------

    def expect(self, call_id: CallId) -> None:
        """Let deliveries wait for a call that is announced; see that :meth:`settle` is called in the end."""
        self._waiting[call_id] = asyncio.get_running_loop().create_future()

    async def answer(self, call_id: CallId) -> Announced | None:
        """Wait until it is settled what an announcement is answered; ``None`` if nobody has to wait any more."""
        waiting = self._waiting.get(call_id)
        return None if waiting is None else await asyncio.shield(waiting)

    def settle(self, call_id: CallId, answer: Announced = Announced.TAKEN) -> None:
        """Let go of those who wait for the call; does nothing where that was done before."""
        waiting = self._waiting.pop(call_id, None)
        if waiting is not None and not waiting.done():
            waiting.set_result(answer)

    # Claims -----------------------------------------------------------------------------------------------------------

    async def claim(self, call: NewCall) -> Ownership:
        """Find out whose an announced call is, before anything of it is counted; take it if it is new."""
        ownership = await self._records.claim(call, CLAIM_SECONDS)
        if ownership is Ownership.OURS and self._records.decidable(call.call_id):
            self.settle(call.call_id)
        return ownership

    def certain(self, call_id: CallId) -> bool:
        """Return true unless the call was taken without the database saying whose it is."""
        return self._records.certain(call_id)

    async def owns(self, call_id: CallId) -> bool:
        """Check that the call is still this process's: only then may the carrier be asked to end or move it."""
        return await self._records.owns(call_id)

    async def check_claims(self) -> None:
        """Let go of every call that is another's by now."""
        await self._records.check_claims()

    # Records ----------------------------------------------------------------------------------------------------------

    def is_decidable(self, call_id: CallId) -> bool:
        """Return true if another process could decide about the call now; nobody waits for its announcement then."""
        decidable = self._records.decidable(call_id)
        if decidable:
            # It may have become so since it was claimed, with what another call wrote.
            self.settle(call_id)
        return decidable

    async def decidable(self, call_id: CallId) -> None:
        """Wait, within bounds, until another process could decide about the call."""
        await self._records.ensure_decidable(call_id, RECORD_SECONDS)
        self.settle(call_id)

    async def written(self, call_id: CallId) -> None:
        """Wait, within bounds, until the call is on record as it is now."""
        await self._records.ensure_written(call_id, RECORD_SECONDS)
        self.settle(call_id)

    def changed(self) -> None:
        """Have the new state of a call that is on record written soon, and go on."""
        self._records.hurry()
