"""The capacity rule: a call is let in only below both limits, decided and reserved in one step."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from threading import Lock
from typing import Protocol

from telemetry.calls.events import LimitHit
from telemetry.semconv.attributes import CallId, CapacityScope, TenantId


class Slot:
    """One call's place. Give it back once or many times, from anywhere; it counts once."""

    __slots__ = ("_give_back", "_held")

    def __init__(self, give_back: Callable[[], object]) -> None:
        self._give_back = give_back
        self._held = True

    def release(self) -> None:
        """Give the place back."""
        if self._held:
            self._held = False
            self._give_back()


@dataclass(frozen=True, slots=True)
class InDoubt:
    """Nobody could say in time whether there is a free place."""


@dataclass(frozen=True, slots=True)
class RunningCall:
    """A call that runs at the carrier and that this process has taken over on record."""

    call_id: CallId
    tenant_id: TenantId


class CapacityRule(Protocol):
    """Lets calls in: :class:`Capacity` for one process alone, or a fleet's."""

    @property
    def in_use(self) -> int:
        """Slots that this process holds."""
        ...

    async def admit(
        self, call_id: CallId, tenant_id: TenantId, *, limit: int, total_limit: int
    ) -> Slot | LimitHit | InDoubt:
        """Reserve a slot; returns the limit that stands in the way if there is one, or that nobody knows in time."""
        ...

    def occupy(self, call_id: CallId, tenant_id: TenantId) -> Slot:
        """Take a slot for a call that runs already, whatever the limits."""
        ...

    async def take_over(self, calls: Sequence[RunningCall]) -> None:
        """Hold the slots that another process held, each until the call is occupied or freed."""
        ...

    def freed(self, call_id: CallId) -> None:
        """Give back the slot of a call that was taken over and turned out to be over."""
        ...


class Capacity:
    """The slots held, by tenant. Limits are given with each request, so lowering one never touches running calls."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._held: Counter[TenantId] = Counter()
        self._total = 0

    @property
    def in_use(self) -> int:
        """Slots held by all tenants together."""
        return self._total

    async def admit(self, call_id: CallId, tenant_id: TenantId, *, limit: int, total_limit: int) -> Slot | LimitHit:  # noqa: ARG002 -- the protocol's signature
        """Reserve a slot; returns the limit that stands in the way if there is one."""
        return self.reserve(tenant_id, limit=limit, total_limit=total_limit)

    def reserve(self, tenant_id: TenantId, *, limit: int, total_limit: int) -> Slot | LimitHit:
        """Reserve a slot; returns the limit that stands in the way if there is one.

        The tenant's own limit is looked at first, as it says more; one that is no tighter than the total is none.
        """
        with self._lock:
            held = self._held[tenant_id]
            if held >= limit and limit < total_limit:
                return LimitHit(CapacityScope.TENANT, limit, held)
            if self._total >= total_limit:
                return LimitHit(CapacityScope.GLOBAL, total_limit, self._total)
            return self._slot(tenant_id)

    def occupy(self, call_id: CallId, tenant_id: TenantId) -> Slot:  # noqa: ARG002 -- the protocol's signature
        """Take a slot for a call that runs already, whatever the limits."""
        with self._lock:
            return self._slot(tenant_id)

    async def take_over(self, calls: Sequence[RunningCall]) -> None:
        """Hold nothing: another process's slots were never counted here."""

    def freed(self, call_id: CallId) -> None:
        """Give nothing back, likewise."""

    def _slot(self, tenant_id: TenantId) -> Slot:
        self._held[tenant_id] += 1
        self._total += 1
        return Slot(partial(self._take_back, tenant_id))

    def _take_back(self, tenant_id: TenantId) -> None:
        with self._lock:
            self._total -= 1
            self._held[tenant_id] -= 1
            if not self._held[tenant_id]:
                # A counter forgets nothing by itself; tenants come and go.
                del self._held[tenant_id]
