"""The registry of a whole fleet: slots as its store has them, calls as each process tells them."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from http import HTTPStatus
from typing import Final

from service.api.capacity import CapacityDebug, CapacitySlots, RegisteredCall
from service.api.elsewhere import INCOMPLETE
from service.api.fleet_calls import FleetCalls
from service.fleet.errors import StoreAwayError
from service.fleet.mail import Mailbox
from service.fleet.store import FleetUsage, SlotStore
from service.http.problems import ProblemError, writable
from service.http.responses import MetricsScope
from telemetry.metrics.gauges import Limits
from telemetry.semconv.attributes import TenantId

REGISTRY: Final = "registry"
_AWAY: Final = "The fleet's store does not answer, and only it knows the slots of all; scope=process asks this process."
_SUMMED: Final = ("active", "pending", "rejected", "unanswered", "taken_over", "handed_over")


class StoredFleetRegistry:
    """See :class:`service.api.capacity.FleetRegistry`.

    Args:
        store: has the slots.
        calls: asks the other processes.
        mailbox: answers them.
    """

    def __init__(self, store: SlotStore, calls: FleetCalls, mailbox: Mailbox) -> None:
        self._store = store
        self._calls = calls
        self._mailbox = mailbox

    def tell(self, own: Callable[[], CapacityDebug]) -> None:
        """Have other processes told this one's registry, which ``own``, in a thread, reads."""

        async def told(_body: object) -> object:
            return (await asyncio.to_thread(own)).model_dump(mode="json")

        self._mailbox.answer(REGISTRY, told)

    async def read(self, own: CapacityDebug, limits: Limits) -> tuple[CapacityDebug, float]:
        """Return the registry of all processes and the age of its oldest part in seconds; raise a 503 problem."""
        try:
            usage = await self._store.usage()
        except StoreAwayError:
            raise _unavailable(_AWAY) from None
        others, coverage = await self._calls.told_by_all(REGISTRY, CapacityDebug)
        if not coverage.complete:
            raise _unavailable(INCOMPLETE, coverage.headers())
        return merged([own, *others], usage, limits), coverage.age_seconds


def _unavailable(detail: str, headers: dict[str, str] | None = None) -> ProblemError:
    return ProblemError(HTTPStatus.SERVICE_UNAVAILABLE, detail, headers={"Retry-After": "1", **(headers or {})})


def merged(parts: Sequence[CapacityDebug], usage: FleetUsage, limits: Limits) -> CapacityDebug:
    """Return the registry that those of all processes make, the first of which is this one's."""
    used = {writable(tenant_id): count for tenant_id, count in usage.tenants.items()}
    named = {writable(tenant_id): tenant_id for tenant_id in usage.tenants}
    tenants = sorted(used.keys() | {tenant_id for part in parts for tenant_id in part.tenants})
    return CapacityDebug(
        as_of=parts[0].as_of,
        scope=MetricsScope.FLEET,
        everyone=_slots([part.everyone for part in parts], usage.total, limits.total()),
        tenants={
            tenant_id: _slots(
                [part.tenants[tenant_id] for part in parts if tenant_id in part.tenants],
                used.get(tenant_id, 0),
                limits.of(named.get(tenant_id, TenantId(tenant_id))),
            )
            for tenant_id in tenants
        },
        active_calls=_oldest_first(call for part in parts for call in part.active_calls),
        accepted_calls=_oldest_first(call for part in parts for call in part.accepted_calls),
        pending_calls=_oldest_first(call for part in parts for call in part.pending_calls),
        mode=parts[0].mode,
        consistent=all(part.consistent for part in parts),
        inconsistencies=tuple(found for part in parts for found in part.inconsistencies),
    )


def _slots(parts: Sequence[CapacitySlots], in_use: int, limit: int) -> CapacitySlots:
    sums = {name: sum(getattr(part, name) for part in parts) for name in _SUMMED}
    return CapacitySlots(limit=limit, in_use=in_use, available=max(0, limit - in_use), peak_in_use_5m=None, **sums)


def _oldest_first(calls: Iterable[RegisteredCall]) -> tuple[RegisteredCall, ...]:
    return tuple(sorted(calls, key=lambda call: -call.age_seconds))
