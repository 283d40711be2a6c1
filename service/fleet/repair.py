"""Makes the store say what is true: this process's slots after a loss, and those of processes that are gone."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final, Protocol

from service.fleet.errors import StoreAwayError
from service.fleet.held import HeldCalls
from service.fleet.member import Member
from service.fleet.store import AT_ONCE, HeldCall, Place, SlotStore, instance_of
from service.records.store import Owner
from service.storage.database import DATABASE_ERRORS
from telemetry.clock import Clock
from telemetry.semconv.attributes import CallId

_logger = logging.getLogger(__name__)

LOOK_SECONDS: Final = 4.0
"""Seconds between two looks at the slots of those that are gone, while there are any."""


class Records(Protocol):
    """The records of calls; :class:`service.records.calls.CallRecords` has them."""

    async def owners(self, call_ids: Sequence[CallId]) -> Mapping[str, Owner]:
        """Return whose these calls are, leaving out those without a record; raise what the database raises."""
        ...

    def is_lost(self, call_id: CallId) -> bool:
        """Return true if the call was let go of, because another process owns it."""
        ...

    def certain(self, call_id: CallId) -> bool:
        """Return true unless the call was taken without the database saying whose it is."""
        ...


class Repair:
    """Compares what the store has with what this process holds, and with the records of those that are gone.

    Args:
        store: the fleet's store.
        member: this process.
        held: the slots it holds.
        records: the records of all calls.
        clock: the source of time.
        age_seconds: how long a slot without a record is kept once its process is gone.
    """

    def __init__(
        self,
        store: SlotStore,
        member: Member,
        held: HeldCalls,
        records: Records,
        clock: Clock,
        *,
        age_seconds: float,
    ) -> None:
        self._store = store
        self._member = member
        self._held = held
        self._records = records
        self._clock = clock
        self._age_seconds = age_seconds
        self._last_look = float("-inf")

    async def own(self) -> None:
        """Have the store hold the slots that this process holds, and no others of it."""
        holding = list(self._held)
        for start in range(0, len(holding), AT_ONCE):
            chunk = [self._claimed(call) for call in holding[start : start + AT_ONCE] if call.call_id in self._held]
            hold = await self._store.hold(self._member.holder, chunk)
            self._member.acknowledged(hold.writes)
        own = instance_of(self._member.holder)
        left = [p async for p in self._store.places() if instance_of(p.holder) == own and p.call_id not in self._held]
        kept = await self._owned_by_others([place for place in left if self._records.is_lost(place.call_id)])
        await self._free([place for place in left if place.call_id not in self._held and place not in kept])

    def _claimed(self, call: HeldCall) -> HeldCall:
        """Return the call as it is claimed now: the database may have confirmed it since it was let in."""
        return replace(call, certain=call.certain or self._records.certain(call.call_id))

    async def _owned_by_others(self, places: Sequence[Place]) -> Sequence[Place]:
        """Return those whose calls run on with other processes, which are to take the slots; all if that is unknown."""
        try:
            owners = await self._records.owners([place.call_id for place in places]) if places else {}
        except DATABASE_ERRORS:
            return places
        return [place for place in places if place.call_id in owners and not owners[place.call_id].over]

    async def look(self) -> None:
        """Free the slots of processes that are gone whose calls are over, or never came on record.

        Those of calls that are open on record stay taken: the calls run on at the carrier.
        """
        now = self._clock.now().monotonic
        if not self._member.fenced_others or self._member.away or now - self._last_look < LOOK_SECONDS:
            return
        self._last_look = now
        try:
            await self._look()
        except StoreAwayError as error:
            self._member.doubt(error)
        except DATABASE_ERRORS as error:
            _logger.warning("slots of processes that are gone could not be looked at: %s", type(error).__name__)

    async def _look(self) -> None:
        view = await self._store.look()
        gone = {process.holder: process.gone_seconds for process in view.processes if process.beat_age_seconds is None}
        places = [place async for place in self._store.places() if place.holder in gone]
        owners = await self._records.owners([place.call_id for place in places])
        free = []
        for place in places:
            owner, seconds = owners.get(place.call_id), gone[place.holder]
            unrecorded = owner is None and seconds is not None and seconds >= self._age_seconds
            if unrecorded or (owner is not None and owner.over):
                free.append(place)
        await self._free(free)

    async def _free(self, places: Sequence[Place]) -> None:
        freed = 0
        for start in range(0, len(places), AT_ONCE):
            freed += await self._store.free(places[start : start + AT_ONCE])
        if freed:
            _logger.warning("slots that no call needed were freed: %d", freed)
