"""The registry of a fleet: the store's slots held against the fleet's numbers, until a difference lasts."""

from collections.abc import Awaitable, Callable
from typing import cast

import pytest

from service.api.capacity import CapacityDebug, SlotCounts, capacity_debug
from service.api.elsewhere import Coverage
from service.api.fleet_calls import FleetCalls
from service.api.fleet_registry import PAUSES_SECONDS, StoredFleetRegistry
from service.fleet.mail import Mailbox
from service.fleet.store import Wanted
from service.reconciliation.consistency import Reconciler
from service.tenants.limits import CallLimits
from telemetry.semconv.attributes import CallId, TenantId
from tests.service.fleet.live.harness import CountingProcess

pytestmark = pytest.mark.peers

ACME = TenantId("acme")


class NobodyElse:
    """Others that have no calls to tell of."""

    async def told_by_all(self, _name: str, _letter: type) -> tuple[tuple[CapacityDebug, ...], Coverage]:
        return (), Coverage()


async def slot(process: CountingProcess, call_id: str) -> None:
    """Have the store hold a slot for a call."""
    await process.fleet.store.acquire(process.holder, [Wanted(CallId(call_id), 1, ACME, 9, certain=True)], 99)


async def registry(
    process: CountingProcess, meanwhile: Callable[[], Awaitable[None]] | None = None
) -> tuple[CapacityDebug, list[float]]:
    """The registry as this process tells it, and how long it waited for further readings."""
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)
        if meanwhile is not None:
            await meanwhile()

    limits = CallLimits(100)
    own = capacity_debug(Reconciler(process.kit.reader, process.kit.tracker).read(), limits, {None: SlotCounts()})
    others, mailbox = cast("FleetCalls", NobodyElse()), cast("Mailbox", None)
    told = StoredFleetRegistry(process.fleet.store, others, mailbox, sleep=sleep)
    found = await told.read(own, limits, process.counting.numbers)
    return found.debug, waits


async def test_rows_that_are_on_their_way_are_no_difference(both: list[CountingProcess]) -> None:
    """A slot shows in the store before its call is in the numbers; once that has come, all is well."""
    one, two = both
    one.call("a", "acme")
    await slot(one, "a")
    debug, waits = await registry(two, one.publish)
    assert (debug.consistent, debug.inconsistencies, len(waits)) == (True, (), 1)
    debug, waits = await registry(two)
    acme = debug.tenants["acme"]
    assert (acme.in_use, acme.active, acme.peak_in_use_5m, debug.everyone.in_use, waits) == (1, 1, 1, 1, [])


async def test_a_slot_without_a_call_is_found(both: list[CountingProcess]) -> None:
    """It is the same difference in every reading, of its tenant and in total."""
    one, two = both
    one.call("a", "acme")
    await slot(one, "a")
    await slot(one, "ghost")
    await one.publish()
    debug, waits = await registry(two)
    assert {(found.tenant_id, found.what, found.expected, found.found) for found in debug.inconsistencies} == {
        (None, "slots in use", 2, 1),
        ("acme", "slots in use", 2, 1),
    }
    assert (debug.consistent, waits) == (False, list(PAUSES_SECONDS))


async def test_slots_that_a_process_left_are_no_difference(both: list[CountingProcess]) -> None:
    """They wait with their calls to be taken over, and nobody counts those until then."""
    one, two = both
    one.call("a", "acme")
    await slot(one, "a")
    await one.publish()
    await two.fleet.store.leave(one.holder)
    await two.folding.fold_gone(one.holder)
    debug, waits = await registry(two)
    assert (debug.everyone.in_use, debug.everyone.active, debug.consistent, waits) == (1, 0, True, [])
