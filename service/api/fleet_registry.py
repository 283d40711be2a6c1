"""The registry of a whole fleet: slots as its store has them, calls as each process tells them, and if both agree."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from service.api.capacity import CapacityDebug, CapacityDifference, CapacitySlots, RegisteredCall, ToldRegistry
from service.api.fleet_calls import FleetCalls
from service.api.scope import FleetNumbers
from service.fleet.errors import StoreAwayError
from service.fleet.live.counts import Coverage, FleetUnansweredError
from service.fleet.live.fields import amounts
from service.fleet.mail import Mailbox
from service.fleet.store import AT_ONCE, FleetUsage, Peaks, SlotStore
from service.http.problems import writable
from service.http.responses import MetricsScope
from service.reconciliation.consistency import lifecycle_claims
from service.timeline.serializer import rounded
from telemetry.metrics.gauges import Limits
from telemetry.metrics.live_table import Numbers
from telemetry.semconv.attributes import OTHER, TenantId

REGISTRY: Final = "registry"

PAUSES_SECONDS: Final = (0.6, 0.7, 0.8)
"""Waits before further readings, each longer than it takes until every process has sent its rows again."""

_AWAY: Final = "The store of the fleet does not answer, and only it knows the slots of all."
_PEAK_MS: Final = 300_000
_ALL: Final = ""
# The name of all tenants together.
_NONE_HANDED_OVER: Final = dict.fromkeys(("pending", "accepted", "started"), 0)
# Whoever goes on with a call counts it whole, so that none is missing from the fleet's numbers.

_Difference = tuple[str, str, float]
# A tenant, what differs, and by how much: what must be the same in every reading.


@dataclass(frozen=True, slots=True)
class _Reading:
    """The slots of the store and the numbers beside them, at about one moment."""

    usage: FleetUsage
    left: int
    """Slots of processes that are gone: of their calls nobody counts the active and pending ones."""
    numbers: Mapping[str, Numbers]
    coverage: Coverage

    def differences(self) -> Iterator[tuple[_Difference, CapacityDifference]]:
        """Yield what should be one and is not."""
        for tenant_id, numbers in self.numbers.items():
            if tenant_id == OTHER:
                continue
            for what, expected, found in self._claims(tenant_id, numbers):
                if expected != found:
                    yield (
                        (tenant_id, what, found - expected),
                        CapacityDifference(
                            tenant_id=writable(tenant_id) if tenant_id else None,
                            what=what,
                            expected=rounded(expected),
                            found=rounded(found),
                            live_age_seconds=round(self.coverage.age_seconds, 3),
                        ),
                    )

    def _claims(self, tenant_id: str, numbers: Numbers) -> Iterator[tuple[str, float, float]]:
        running = numbers["active_calls"] + numbers["pending_calls"]
        if tenant_id == _ALL:
            yield "slots in use", self.usage.total - self.left, running
        elif not self.left and not any(self.numbers[OTHER].values()):
            # Past the number of tenants that a process keeps apart, calls count together and slots do not.
            yield "slots in use", self.usage.tenants.get(TenantId(tenant_id), 0), running
        yield from lifecycle_claims(numbers, _NONE_HANDED_OVER)


class StoredFleetRegistry:
    """See :class:`service.api.capacity.FleetRegistry`.

    Args:
        store: has the slots.
        calls: asks the other processes.
        mailbox: answers them.
        sleep: waits between readings.
    """

    def __init__(
        self,
        store: SlotStore,
        calls: FleetCalls,
        mailbox: Mailbox,
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._store = store
        self._calls = calls
        self._mailbox = mailbox
        self._sleep = sleep

    def tell(self, own: Callable[[], CapacityDebug]) -> None:
        """Have other processes told this one's registry, which ``own``, in a thread, reads."""

        async def told(_body: object) -> object:
            return (await asyncio.to_thread(own)).model_dump(mode="json")

        self._mailbox.answer(REGISTRY, told)

    async def read(self, own: CapacityDebug, limits: Limits, numbers: FleetNumbers) -> ToldRegistry:
        """Return the registry of all processes, this one's among them; raise FleetUnansweredError."""
        others, calls = await self._calls.told_by_all(REGISTRY, CapacityDebug)
        parts = [own, *others]
        try:
            usage = await self._store.usage()
            # A name that cannot be written has another form in what a process tells; the store has it as it is.
            forms = {writable(tenant_id) for tenant_id in usage.tenants}
            told = {tenant_id for part in parts for tenant_id in part.tenants} - forms
            tenants = sorted({*usage.tenants, *told})
            peaks = await self._peaks(tenants)
            reading, differences = await self._compared(tenants, numbers)
        except StoreAwayError:
            raise FleetUnansweredError(_AWAY) from None

        def slots(tenant_id: str, in_use: int, limit: int) -> CapacitySlots:
            return _slots(reading.numbers[tenant_id], in_use, limit, _peak(peaks[tenant_id], reading.coverage))

        debug = CapacityDebug(
            as_of=own.as_of,
            scope=MetricsScope.FLEET,
            everyone=slots(_ALL, reading.usage.total, limits.total()),
            tenants={
                writable(tenant_id): slots(tenant_id, reading.usage.tenants.get(tenant_id, 0), limits.of(tenant_id))
                for tenant_id in map(TenantId, tenants)
            },
            active_calls=_oldest_first(call for part in parts for call in part.active_calls),
            accepted_calls=_oldest_first(call for part in parts for call in part.accepted_calls),
            pending_calls=_oldest_first(call for part in parts for call in part.pending_calls),
            mode=own.mode,
            consistent=not differences and all(part.consistent for part in parts),
            inconsistencies=(*differences, *(found for part in parts for found in part.inconsistencies)),
        )
        return ToldRegistry(debug, reading.coverage, calls)

    async def _peaks(self, tenants: Sequence[str]) -> Mapping[str, Peaks]:
        names: Sequence[str] = [_ALL, *tenants]
        found: dict[str, Peaks] = {}
        for start in range(0, len(names), AT_ONCE):
            found |= await self._store.peaks(names[start : start + AT_ONCE])
        return found

    async def _compared(
        self, tenants: Sequence[str], numbers: FleetNumbers
    ) -> tuple[_Reading, Sequence[CapacityDifference]]:
        """Return the first reading, with the differences that later ones have, too."""
        first = await self._reading((_ALL, *tenants), numbers)
        standing = dict(first.differences())
        for pause in PAUSES_SECONDS:
            if not standing:
                break
            await self._sleep(pause)
            again = await self._reading({tenant_id for tenant_id, _, _ in standing}, numbers)
            differences = dict(again.differences())
            standing = {key: differences[key] for key in standing.keys() & differences.keys()}
        return first, tuple(standing.values())

    async def _reading(self, tenants: Collection[str], numbers: FleetNumbers) -> _Reading:
        rows, coverage = await numbers.rows({*tenants, OTHER})
        usage, view = await asyncio.gather(self._store.usage(), self._store.look())
        left = sum(process.held for process in view.processes if process.gone_seconds is not None)
        return _Reading(usage, left, {tenant_id: amounts(row) for tenant_id, row in rows.items()}, coverage)


def _peak(peaks: Peaks, coverage: Coverage) -> int | None:
    # A fleet that is younger has held nothing before.
    return peaks.since(max(peaks.now_ms - _PEAK_MS, coverage.since_ms))


def _slots(numbers: Numbers, in_use: int, limit: int, peak_in_use: int | None) -> CapacitySlots:
    return CapacitySlots(
        limit=limit,
        in_use=in_use,
        available=max(0, limit - in_use),
        active=int(numbers["active_calls"]),
        pending=int(numbers["pending_calls"]),
        peak_in_use_5m=peak_in_use,
        rejected=int(numbers["rejected_calls_capacity"]),
        unanswered=int(numbers["unanswered_calls"]),
        taken_over=int(numbers["taken_over_calls"]),
        handed_over=int(sum(numbers[f"handed_over_calls_{state}"] for state in _NONE_HANDED_OVER)),
    )


def _oldest_first(calls: Iterable[RegisteredCall]) -> tuple[RegisteredCall, ...]:
    return tuple(sorted(calls, key=lambda call: -call.age_seconds))
