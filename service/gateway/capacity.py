"""The capacity rule: a call is let in only below both limits, decided and reserved in one step."""

from collections import Counter
from threading import Lock

from telemetry.calls.events import LimitHit
from telemetry.semconv.attributes import CapacityScope, TenantId


class Slot:
    """One call's place. Give it back once or many times, from anywhere; it counts once."""

    __slots__ = ("_capacity", "_held", "_tenant_id")

    def __init__(self, capacity: "Capacity", tenant_id: TenantId) -> None:
        self._capacity = capacity
        self._tenant_id = tenant_id
        self._held = True

    def release(self) -> None:
        """Give the place back."""
        if self._held:
            self._held = False
            self._capacity.give_back(self._tenant_id)


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
            self._held[tenant_id] += 1
            self._total += 1
            return Slot(self, tenant_id)

    def occupy(self, tenant_id: TenantId) -> Slot:
        """Take a slot for a call that runs already, whatever the limits."""
        with self._lock:
            self._held[tenant_id] += 1
            self._total += 1
            return Slot(self, tenant_id)

    def give_back(self, tenant_id: TenantId) -> None:
        """Take one slot back; what :meth:`Slot.release` calls, once."""
        with self._lock:
            self._total -= 1
            self._held[tenant_id] -= 1
            if not self._held[tenant_id]:
                # A counter forgets nothing by itself; tenants come and go.
                del self._held[tenant_id]
