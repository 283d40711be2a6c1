"""One light process of a fleet: the real membership, capacity and repair, without a gateway around them.

Announced calls come from the carrier over a socket, as JSON lines, and what became of them goes back the same way.
"""

import asyncio
import json
import os
import time
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from redis.asyncio.cluster import NodesManager, RedisCluster
from redis.exceptions import MovedError

from service.fleet.address import StoreAddress
from service.fleet.asking import SlotAsking, Unanswered
from service.fleet.capacity import FleetCapacity
from service.fleet.connection import StoreConnection
from service.fleet.errors import StoreAwayError
from service.fleet.held import HeldCalls
from service.fleet.member import Member
from service.fleet.repair import Repair
from service.fleet.sharing import FleetSeen, OnOutage
from service.fleet.store import Acquired, Beat, Released, Scripts, SlotStore, Wanted
from service.gateway.capacity import InDoubt, RunningCall, Slot
from service.records.store import Owner
from telemetry.calls.events import LimitHit
from telemetry.calls.lifecycle import CallState
from telemetry.clock import SystemClock
from telemetry.semconv.attributes import CallId, TenantId
from tests.histories.events import By, Count, Seen

PREFIX = "history"

Message = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Order:
    """The process that is to be."""

    name: str
    url: str
    """Of its store."""
    on_outage: str
    beat_seconds: float
    total_limit: int
    proxies: Mapping[str, int] = field(default_factory=dict)
    """Ports of a cluster's nodes, each with that of the proxy before it."""


class _Line:
    """The socket to the carrier."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    def send(self, **message: object) -> None:
        self._writer.write(json.dumps(message).encode() + b"\n")

    async def receive(self) -> Message | None:
        line = await self._reader.readline()
        return json.loads(line) if line else None


class _Records:
    """The records of all calls, which the carrier keeps; claims as this process knows them."""

    def __init__(self, line: _Line) -> None:
        self._line = line
        self.claims: dict[CallId, int] = {}
        self.lost: set[CallId] = set()
        self.asked: dict[int, asyncio.Future[Mapping[str, Sequence[Any]]]] = {}

    def claim_of(self, call_id: CallId) -> int:
        return self.claims.get(call_id, 1)

    def certain(self, call_id: CallId) -> bool:  # noqa: ARG002 -- the protocol's signature
        return True

    def is_lost(self, call_id: CallId) -> bool:
        return call_id in self.lost

    def let_go(self, call_id: CallId) -> None:
        self.lost.add(call_id)

    async def owners(self, call_ids: Sequence[CallId]) -> Mapping[str, Owner]:
        number = len(self.asked)
        answer = self.asked[number] = asyncio.get_running_loop().create_future()
        self._line.send(say="owners", number=number, calls=list(call_ids))
        found = await answer
        return {
            call: Owner(process, claim, CallState.STARTED, over=over, handed_over=False)
            for call, (process, claim, over) in found.items()
        }


_SENT: ContextVar[float] = ContextVar("sent", default=float("-inf"))
# When the store was asked what a task has just been answered.


class _NotingStore(SlotStore):
    """The real store, which notes when it was asked."""

    def __init__(self, scripts: Scripts, prefix: str, *, silence_seconds: float) -> None:
        super().__init__(scripts, prefix, silence_seconds=silence_seconds)
        self.asked_at: dict[int, float] = {}
        """Answers about new calls, by their ids: another task than the one that asks takes them."""

    async def beat(self, *arguments: Any, **options: Any) -> Beat:  # noqa: ANN401 -- those of the real one
        _SENT.set(time.monotonic())
        return await super().beat(*arguments, **options)

    async def release(self, holder: str, calls: Mapping[CallId, int]) -> Released:
        _SENT.set(time.monotonic())
        return await super().release(holder, calls)

    async def acquire(self, holder: str, wanted: Sequence[Wanted], total_limit: int) -> Acquired:
        sent = time.monotonic()
        acquired = await super().acquire(holder, wanted, total_limit)
        self.asked_at[id(acquired)] = sent
        return acquired


class _NotingSeen(FleetSeen):
    """What was really seen, with when that was."""

    def __init__(self) -> None:
        super().__init__()
        never = (float("-inf"), float("-inf"))
        self._total_at = self._all_at = self._listed_at = never
        self._tenants_at: dict[TenantId, tuple[float, float]] = {}

    def saw(self, total: int, own: int, *, counted: int | None = None) -> None:
        super().saw(total, own, counted=counted)
        self._total_at = _now()

    def saw_tenant(self, tenant_id: TenantId, in_use: int, own: int, *, counted: int | None = None) -> None:
        super().saw_tenant(tenant_id, in_use, own, counted=counted)
        self._tenants_at[tenant_id] = _now()

    def listed(self, *arguments: Any, complete: bool) -> None:  # noqa: ANN401 -- those of the real one
        super().listed(*arguments, complete=complete)
        self._listed_at = _now()
        self._all_at = self._listed_at if complete else self._all_at

    def told(self, tenant_id: TenantId) -> Seen:
        """Return what a share for a call of this tenant stands on."""
        total, tenant = self._total, self._tenants.get(tenant_id)
        of_tenant = (0, 0) if tenant is None else (tenant.in_use, tenant.own)
        at = self._all_at if tenant is None else self._tenants_at[tenant_id]
        return Seen(
            Count(total.in_use, total.own, *self._total_at),
            Count(*of_tenant, *at),
            self.living,
            self.rank,
            *self._listed_at,
        )


def _now() -> tuple[float, float]:
    return _SENT.get(), time.monotonic()


class _NotingAsking(SlotAsking):
    """The real questions, whose answers are known to have been asked for when they were."""

    def _take(self, asked: Sequence[Any], acquired: Acquired) -> None:
        assert isinstance(self._store, _NotingStore)
        _SENT.set(self._store.asked_at.pop(id(acquired)))
        super()._take(asked, acquired)


class _NotingCapacity(FleetCapacity):
    """The real capacity, which notes how calls were decided."""

    def __init__(self, *arguments: Any) -> None:  # noqa: ANN401 -- those of the real one
        super().__init__(*arguments)
        self.asking = _NotingAsking(self._store, self._member, self._held, self._let_go_of)
        self.by_share: dict[CallId, Seen] = {}

    def _decided_here(self, wanted: Wanted, total_limit: int, cause: Unanswered) -> Slot | LimitHit | InDoubt:
        assert isinstance(self._member.seen, _NotingSeen)
        self.by_share[wanted.call_id] = self._member.seen.told(wanted.tenant_id)
        return super()._decided_here(wanted, total_limit, cause)


class _NotingMember(Member):
    """The real membership, which tells of heartbeats and of the store going away."""

    line: _Line

    async def beat(self) -> None:
        since = time.monotonic()
        await super().beat()
        self.line.send(say="beat", since=since)

    def _went_away(self, error: Exception) -> None:
        if not self.away:
            self.line.send(say="away")
        super()._went_away(error)


def _connected(order: Order) -> StoreConnection:
    """Return a connection to the store, whose nodes are behind proxies of this process's own if it is a cluster."""
    connection = StoreConnection(StoreAddress.parse(order.url))
    if order.proxies:
        # For this process alone, which was made for it.
        move = NodesManager.move_slot

        def proxy(node: tuple[str, int]) -> tuple[str, int]:
            return node[0], order.proxies.get(str(node[1]), node[1])

        async def moved(nodes: NodesManager, error: MovedError) -> None:
            error.host, error.port = proxy((error.host, error.port))
            await move(nodes, error)

        assert isinstance(connection._client, RedisCluster)
        connection._client.nodes_manager.address_remap = proxy
        NodesManager.move_slot = moved  # type: ignore[method-assign, assignment]
    return connection


class Worker:
    """The process, from its start to its end."""

    def __init__(self, order: Order, line: _Line) -> None:
        self._order, self._line = order, line
        clock = SystemClock()
        self._records, self._held = _Records(line), HeldCalls()
        self._connection = _connected(order)
        store = _NotingStore(self._connection, PREFIX, silence_seconds=3 * order.beat_seconds)
        self._member = _NotingMember(
            store, order.name, lambda: "db", dict, self._held, clock, beat_seconds=order.beat_seconds
        )
        self._member.line = line
        self._member.seen = _NotingSeen()
        on_outage = OnOutage(order.on_outage)
        self._capacity = _NotingCapacity(store, self._member, self._held, self._records, on_outage)
        self._repair = Repair(store, self._member, self._held, self._records, clock, age_seconds=3600.0)
        self._member.repair = self._repair.own
        self._member.on_return = self._check_claims
        self._member.on_back = self._capacity.store_is_back
        self._member.under_way = self._capacity.under_way
        self._slots: dict[CallId, Slot] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Join, and do what the carrier says until it hangs up."""
        listening = asyncio.create_task(self._listen())
        while True:
            try:
                await self._member.join()
                await self._member.beat()
                break
            except StoreAwayError:
                await asyncio.sleep(0.1)
        self._member.start()
        self._capacity.start()
        looking = asyncio.create_task(self._look())
        self._line.send(say="ready", pid=os.getpid())
        await listening
        looking.cancel()
        await self._member.stop()
        await self._capacity.stop(0.5)
        await self._connection.close()

    async def _listen(self) -> None:
        while (message := await self._line.receive()) is not None:
            match message.pop("do"):
                case "admit":
                    self._spawn(self._admit(**message))
                case "end":
                    self._end(CallId(message["call"]))
                case "take":
                    self._spawn(self._take(message["calls"]))
                case "lost":
                    self._lose([CallId(call) for call in message["calls"]])
                case "owners":
                    self._records.asked[message["number"]].set_result(message["found"])
                case "count":
                    self._line.send(say="count", held=len(self._held), in_doubt=self._capacity.in_doubt)

    def _spawn(self, work: Any) -> None:  # noqa: ANN401 -- a coroutine
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _admit(self, call: str, tenant: str, limit: int) -> None:
        call_id = CallId(call)
        answer = await self._capacity.admit(call_id, TenantId(tenant), limit=limit, total_limit=self._order.total_limit)
        seen = self._capacity.by_share.pop(call_id, None)
        if isinstance(answer, Slot):
            if self._records.is_lost(call_id):
                return  # another has it by now
            self._slots[call_id] = answer
            by = By.STORE if seen is None else By.SHARE
            self._line.send(say="ok", call=call, by=by, seen=None if seen is None else asdict(seen))
        else:
            by = By.DOUBT if isinstance(answer, InDoubt) else By.LIMIT if seen is None else By.SHARE
            self._line.send(say="refused", call=call, by=by)

    def _end(self, call_id: CallId) -> None:
        slot = self._slots.pop(call_id, None)
        if slot is not None:
            slot.release()
        else:
            self._capacity.freed(call_id)

    async def _take(self, calls: Sequence[tuple[str, str, int]]) -> None:
        running = [RunningCall(CallId(call), TenantId(tenant)) for call, tenant, _ in calls]
        self._records.claims.update({CallId(call): claim for call, _, claim in calls})
        await self._capacity.take_over(running)
        for call in running:
            self._slots[call.call_id] = self._capacity.occupy(call.call_id, call.tenant_id)
        self._line.send(say="taken", calls=[call.call_id for call in running])

    def _lose(self, calls: Sequence[CallId]) -> None:
        self._records.lost.update(calls)
        for call_id in calls:
            slot = self._slots.pop(call_id, None)
            if slot is not None:
                slot.release()

    async def _check_claims(self) -> None:
        """Let go of the calls that are another's by now; a fenced process does so before it asserts anything."""
        calls = [call.call_id for call in self._held]
        owners = await self._records.owners(calls) if calls else {}
        self._lose([call for call in calls if call in owners and owners[call].instance_id != self._order.name])

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(self._order.beat_seconds)
            self._repair._last_look = float("-inf")  # its pause is for a fleet of slower heartbeats
            await self._repair.look()


async def work(order: Order, socket: Path) -> None:
    """Be one process of a fleet; returns once the carrier closes the socket."""
    reader, writer = await asyncio.open_unix_connection(str(socket), limit=1 << 24)
    line = _Line(reader, writer)
    line.send(say="hello", name=order.name, pid=os.getpid())
    await Worker(order, line).run()
    writer.close()
