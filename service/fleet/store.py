"""The places of all calls of a fleet, as the store's scripts keep them."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, Protocol

from service.fleet.scripts import (
    ACQUIRE,
    BEAT,
    FREE,
    HOLD,
    JOIN,
    LAYOUT,
    LEAVE,
    LOOK,
    PAGE,
    PEAKS,
    RELEASE,
    USAGE,
    Script,
    keys_of,
)
from service.fleet.steps import MINUTE_MS
from telemetry.semconv.attributes import CallId, TenantId

AT_ONCE: Final = 200
"""Slots that one script is asked about: some milliseconds of the store at most."""

ANSWER_SECONDS: Final = 1.0
"""Seconds the store may take to answer, and to be connected to; no call waits for that long."""

BEAT_SECONDS: Final = 2.0
"""Seconds between two heartbeats of a process."""

SILENCE_SECONDS: Final = 3 * BEAT_SECONDS
"""A process whose last heartbeat is older, on the store's clock, is fenced."""


MAX_LISTED: Final = 1_000
"""Tenants with slots that a heartbeat lists; if more have some, those that called last."""


class Scripts(Protocol):
    """Runs scripts; :class:`service.fleet.connection.StoreConnection` does."""

    async def run(self, script: Script, keys: Sequence[str], arguments: Sequence[str | int]) -> Any:  # noqa: ANN401
        """Return what a script answers; raise :class:`service.fleet.errors.StoreAwayError` if there is no answer."""
        ...


class UnregisteredError(Exception):
    """The store does not know this process under its epoch: it was fenced, or the store was emptied."""


class Decision(StrEnum):
    """The store's answer to a call that wants a slot."""

    HELD = "held"
    TENANT = "tenant"
    """The tenant's limit is reached."""
    GLOBAL = "global"
    """The limit of all tenants together is reached."""
    OTHERS = "others"
    """Another process holds the call."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A call that wants a slot."""

    call_id: CallId
    claim: int
    """The call's claim on record, in microseconds."""
    tenant_id: TenantId
    limit: int
    certain: bool
    """True if the database says that the call is this process's."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The decision about one call, with what the fleet holds after it."""

    decision: Decision
    of_tenant: int
    total: int


@dataclass(frozen=True, slots=True)
class HeldCall:
    """A call that holds a slot of this process."""

    call_id: CallId
    claim: int
    tenant_id: TenantId
    certain: bool = True
    """As in :class:`Wanted`."""


@dataclass(frozen=True, slots=True)
class Place:
    """A slot as the store has it."""

    call_id: CallId
    holder: str
    claim: int
    tenant_id: TenantId


@dataclass(frozen=True, slots=True)
class Acquired:
    """The answers to calls that wanted slots, in their order."""

    answers: Sequence[Answer]
    before: int
    """Writes of this process that the store knew before these."""
    writes: int
    born_seconds: float
    """Seconds since the store first knew this fleet."""


@dataclass(frozen=True, slots=True)
class Hold:
    """The answer about slots of running calls."""

    before: int
    """Changes of this process's slots that the store knew before these."""
    writes: int
    """Those that it knows."""
    others: Sequence[CallId]
    """Calls that another process holds, with a better claim."""


@dataclass(frozen=True, slots=True)
class Released:
    """The fleet after slots were given back."""

    before: int
    """Changes of this process's slots that the store knew before these."""
    writes: int
    """Those that it knows."""
    total: int
    """Slots in use."""
    tenants: Mapping[TenantId, int]
    """Those of each tenant that a slot was given back of."""


@dataclass(frozen=True, slots=True)
class Beat:
    """The fleet at the moment of a heartbeat."""

    writes: int
    held: int
    """Slots of this process."""
    living: int
    """Processes that live, with this one."""
    rank: int
    """The place of this process among them, from 0; each has another."""
    total: int
    """Slots in use."""
    fenced: int
    """Processes that are gone and still hold slots."""
    born_seconds: float
    tenants: Mapping[TenantId, int]
    """Slots in use by each tenant."""
    complete: bool
    """True if a tenant that is not told of has none; otherwise it was not asked for."""
    fenced_now: Sequence[str]
    """Those found silent by this heartbeat."""


@dataclass(frozen=True, slots=True)
class FleetUsage:
    """The slots in use at one moment of the store."""

    total: int
    tenants: Mapping[TenantId, int]
    """Those of tenants that use any."""


@dataclass(frozen=True, slots=True)
class Peaks:
    """The most slots that one tenant, or all together, held at once."""

    in_use: int
    """Slots held now."""
    by_minute: Sequence[tuple[int, int]]
    """Minutes since 1970 and the most of each, the latest first; further back, of five minutes and of an hour."""
    now_ms: int
    born_ms: int
    """Since when they are remembered."""

    def since(self, start_ms: int) -> int | None:
        """Return the most from a moment on; None if that is longer ago than what is remembered."""
        if start_ms < self.born_ms // MINUTE_MS * MINUTE_MS:
            return None
        return max([self.in_use, *(most for minute, most in self.by_minute if minute >= start_ms // MINUTE_MS)])

    def between(self, start_ms: int, end_ms: int) -> int | None:
        """Return the most between two moments; None if no slot was taken or given back."""
        found = (most for minute, most in self.by_minute if start_ms // MINUTE_MS <= minute < end_ms / MINUTE_MS)
        return max(found, default=None)


@dataclass(frozen=True, slots=True)
class Process:
    """One process of the fleet, as the store has it."""

    holder: str
    beat_age_seconds: float | None
    """Seconds since its last heartbeat; None for one that is gone."""
    gone_seconds: float | None
    """Seconds since it was fenced or left; None while it lives."""
    held: int
    """Slots that it holds."""
    writes: int
    """Changes of its slots that the store knows, under its present epoch."""
    info: Mapping[str, Any]
    """The facts it tells of itself."""


@dataclass(frozen=True, slots=True)
class FleetView:
    """Every process of the fleet at one moment of the store."""

    processes: Sequence[Process]
    in_use: int
    born_seconds: float


class SlotStore:
    """The scripts with their arguments and answers in types. Each method raises StoreAwayError without an answer."""

    __slots__ = ("_keys", "_scripts", "_silence", "silence_seconds")

    def __init__(self, scripts: Scripts, prefix: str, *, silence_seconds: float = SILENCE_SECONDS) -> None:
        self._scripts = scripts
        self._keys = keys_of(prefix)
        self.silence_seconds = silence_seconds
        """The age of a heartbeat, in seconds, from which a process is fenced."""
        self._silence = round(silence_seconds * 1000)

    async def join(
        self, instance_id: str, database: str, info: Mapping[str, Any], *, before: str = ""
    ) -> tuple[str, str]:
        """Register a process; return ``joined`` with its holder.

        Or, if it does not fit those that live, ``database`` or ``layout`` with theirs.
        """
        arguments: list[str | int] = [instance_id, self._silence, database, LAYOUT, json.dumps(info), before]
        answer, value = await self._run(JOIN, arguments)
        return (answer, f"{instance_id}:{value}") if answer == "joined" else (answer, str(value))

    async def beat(
        self,
        holder: str,
        info: Mapping[str, Any],
        tenants: Sequence[TenantId] = (),
        *,
        at_most: int = MAX_LISTED,
    ) -> Beat:
        """Show that the process lives, and return what every tenant holds: these alone, if more than so many hold any.

        Raises UnregisteredError if the store does not know the process.
        """
        answer = await self._run(BEAT, [holder, self._silence, json.dumps(info), at_most, *tenants])
        writes, held, living, rank, total, fenced, born, counts, complete, fenced_now = _registered(answer)
        usage, born_seconds = _counts(list(json.loads(counts))), int(born) / 1000
        return Beat(writes, held, living, rank, total, fenced, born_seconds, usage, bool(complete), fenced_now)

    async def leave(self, holder: str) -> None:
        """Sign the process off; what it still holds is handed over."""
        await self._run(LEAVE, [holder])

    async def acquire(self, holder: str, wanted: Sequence[Wanted], total_limit: int) -> Acquired:
        """Decide about these calls; raise UnregisteredError if the store does not know the process."""
        arguments: list[str | int] = [holder, total_limit]
        for call in wanted:
            arguments += [call.call_id, call.claim, call.tenant_id, call.limit, int(call.certain)]
        before, writes, born, answers = _registered(await self._run(ACQUIRE, arguments))
        decided = [Answer(Decision(decision), of_tenant, total) for decision, of_tenant, total in answers]
        return Acquired(decided, before, writes, int(born) / 1000)

    async def prepare(self, holder: str) -> None:
        """Have connections open and scripts known before the first call comes, which has no time for either.

        Raises UnregisteredError if the store does not know the process.
        """
        # At the same time, so that each has a connection of its own. Asked about no call, they change nothing.
        nothing = (self.acquire(holder, [], 0), self.release(holder, {}), self.hold(holder, []), self.usage())
        await asyncio.gather(*nothing)

    async def hold(self, holder: str, calls: Sequence[HeldCall]) -> Hold:
        """Hold the slots of running calls, whatever the limits.

        Raises UnregisteredError if the store does not know the process.
        """
        arguments: list[str | int] = [holder]
        for call in calls:
            arguments += [call.call_id, call.claim, int(call.certain), call.tenant_id]
        before, writes, others = _registered(await self._run(HOLD, arguments))
        return Hold(before, writes, [CallId(call_id) for call_id in others])

    async def release(self, holder: str, calls: Mapping[CallId, int]) -> Released:
        """Give back the slots of these calls, each with its claim."""
        arguments: list[str | int] = [holder]
        for call_id, claim in calls.items():
            arguments += [call_id, claim]
        before, writes, total, counts = _registered(await self._run(RELEASE, arguments))
        return Released(before, writes, total, _counts(counts))

    async def free(self, places: Sequence[Place]) -> int:
        """Free these slots, unless they changed hands; return how many were."""
        arguments: list[str | int] = []
        for place in places:
            arguments += [place.call_id, place.holder, place.claim]
        (freed,) = _registered(await self._run(FREE, arguments))
        return int(freed)

    async def places(self) -> AsyncIterator[Place]:
        """Yield the slots; one that changes hands meanwhile comes once, twice or not at all."""
        cursor = "0"
        while True:
            cursor, found = await self._run(PAGE, [cursor])
            for call_id, text in zip(found[::2], found[1::2], strict=True):
                holder, claim, _, tenant_id = text.split("|", 3)
                yield Place(CallId(call_id), holder, int(claim), TenantId(tenant_id))
            if cursor == "0":
                return

    async def usage(self) -> FleetUsage:
        """Return the slots in use, in total and of each tenant."""
        total, tenants = await self._run(USAGE, [])
        return FleetUsage(int(total), {TenantId(tenant_id): int(count) for tenant_id, count in _pairs(tenants).items()})

    async def peaks(self, tenants: Sequence[str]) -> Mapping[str, Peaks]:
        """Return the peaks of these tenants; an empty name stands for all together."""
        total, *found, now, born = await self._run(PEAKS, list(tenants))
        return {
            tenant_id: Peaks(int(in_use if tenant_id else total), _minutes(text), int(now), int(born))
            for tenant_id, in_use, text in zip(tenants, found[::2], found[1::2], strict=True)
        }

    async def look(self) -> FleetView:
        """Return every process of the fleet."""
        now, beats, fenced, held, writes, infos, fleet, total = await self._run(LOOK, [])
        slots, changes, information, at = _pairs(held), _pairs(writes), _pairs(infos), int(now)
        gone, living = _pairs(fenced), _pairs(beats)
        processes = [
            Process(
                holder,
                (at - float(living[holder])) / 1000 if holder in living else None,
                (at - int(gone[holder])) / 1000 if holder in gone else None,
                int(slots.get(holder, 0)),
                int(changes.get(holder, 0)),
                json.loads(information.get(holder, "{}")),
            )
            for holder in sorted({*living, *gone, *slots})
        ]
        return FleetView(processes, int(total), (at - int(_pairs(fleet).get("born", at))) / 1000)

    async def _run(self, script: Script, arguments: Sequence[str | int]) -> Any:  # noqa: ANN401
        return await self._scripts.run(script, self._keys, arguments)


def instance_of(holder: str) -> str:
    """Return the process's id in a holder."""
    return holder.rpartition(":")[0]


def epoch_of(holder: str) -> int:
    """Return the epoch in a holder, in milliseconds of the store's clock or later."""
    return int(holder.rpartition(":")[2])


def _registered(answer: Sequence[Any]) -> Sequence[Any]:
    if answer[0] == "unregistered":
        raise UnregisteredError("fenced")
    return answer[1:]


def _counts(flat: Sequence[str | int]) -> dict[TenantId, int]:
    return {TenantId(str(name)): int(count) for name, count in zip(flat[::2], flat[1::2], strict=True)}


def _minutes(text: str) -> Sequence[tuple[int, int]]:
    words = list(map(int, text.split()))
    return list(zip(words[::2], words[1::2], strict=True))


def _pairs(flat: Sequence[str]) -> dict[str, str]:
    return dict(zip(flat[::2], flat[1::2], strict=True))
