"""Processes of a fleet as objects that count calls, with a real store and a real database between them."""

from collections.abc import Sequence
from contextlib import suppress

from service.fleet.live.counting import FleetCounting
from service.fleet.live.fields import NUMBER, Row, amounts
from service.fleet.live.lost import LostCalls
from service.fleet.live.publisher import NotPublishedError
from service.fleet.store import Scripts
from service.storage.database import Database
from service.tenants.limits import CallLimits
from telemetry.calls.call import Call
from telemetry.calls.events import CallBefore, CallLost
from telemetry.calls.lifecycle import CallState
from telemetry.semconv.attributes import EndReason
from telemetry.testing import TelemetryKit
from tests.service.fleet.harness import FleetMember

OPEN = ("active_calls", "pending_calls")
TENANTS = ("acme", "globex")


class CountingProcess:
    """One process: it counts in memory, and sends when a test says so."""

    def __init__(
        self, scripts: Scripts, name: str, database: Database, *, max_tenants: int = 1_000, prefix: str = "test"
    ) -> None:
        self.fleet = FleetMember(scripts, name)
        self.kit = TelemetryKit(max_tenants=max_tenants)
        self.lost = LostCalls()
        self.counting = FleetCounting(
            self.fleet.faulty, prefix, self.fleet, database, self.kit.reader, self.lost, CallLimits(100), self.kit.clock
        )
        self.publisher = self.counting._publisher
        self.folding = self.counting._folding

    @property
    def holder(self) -> str:
        return self.fleet.member.holder

    async def start(self) -> None:
        await self.fleet.member.join()
        await self.fleet.member.beat()
        self.fleet.member._last_beat = self.fleet.member._now()
        self.counting.numbers.since_ms = await self.folding.begin()

    async def publish(self) -> None:
        """Send what changed; after a loss of the store it takes some turns."""
        for _ in range(4):
            await self.fleet.member.beat()
            with suppress(NotPublishedError):
                await self.publisher.publish()
                return

    async def stop(self) -> None:
        """Sign off in good order."""
        await self.counting.stop()
        await self.fleet.store.leave(self.holder)
        self.close()

    def close(self) -> None:
        self.kit.close()

    def call(self, call_id: str, tenant_id: str, state: CallState = CallState.STARTED) -> Call:
        """Have a call come in that gets into a state."""
        call = self.kit.tracker.received(call_id, tenant_id)
        if state is not CallState.PENDING:
            call.accepted()
        if state is CallState.STARTED:
            call.started()
        return call

    def takes_over(self, call_id: str, tenant_id: str, state: CallState) -> Call:
        return self.kit.tracker.taken_over(call_id, tenant_id, state)

    def finds_over(self, call_id: str, tenant_id: str, state: CallState) -> None:
        """Have it find a call of a process that is gone to be over."""
        now = self.kit.clock.now()
        self.kit.tracker.lost(call_id, tenant_id, state, CallBefore(now, None, None), at=now)
        event = self.kit.events[-1]
        assert isinstance(event, CallLost)
        self.lost.emit(event)

    async def row(self, tenant_id: str | None = None) -> Row:
        return (await self.counting.numbers.counts(tenant_id)).row

    async def numbers(self, tenant_id: str | None = None) -> dict[str, float]:
        """Return what this process says of the fleet, without what is zero."""
        return {name: number for name, number in amounts(await self.row(tenant_id)).items() if number}


def ended(call: Call, seconds: float, kit: TelemetryKit) -> None:
    """Let a call run so long and end."""
    kit.clock.advance(seconds)
    call.ended(EndReason.HANGUP)


async def all_alike(processes: Sequence[CountingProcess], *, summed: bool = True) -> dict[str | None, Row]:
    """Have all send, and return what each of them then says alike; the total is the sum.

    Not ``summed`` if a process may have died between sending its tenants' rows and that of the total.
    """
    for process in processes:
        await process.publish()
    rows = {tenant: [await process.row(tenant) for process in processes] for tenant in (None, *TENANTS)}
    for said in rows.values():
        assert all(row == said[0] for row in said)
    total = [sum(numbers) for numbers in zip(*(rows[tenant][0] for tenant in TENANTS), strict=True)]
    assert rows[None][0] == total or not summed
    return {tenant: said[0] for tenant, said in rows.items()}


def number(row: Row, name: str) -> int:
    return row[NUMBER[name]]
