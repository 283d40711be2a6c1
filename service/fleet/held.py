"""The slots of this process, as it knows them itself: what it asserts when the store has lost them."""

from collections import Counter
from collections.abc import Iterator, Mapping

from service.fleet.store import HeldCall
from telemetry.semconv.attributes import CallId, TenantId


class HeldCalls:
    """The calls whose slots are this process's. For one event loop."""

    __slots__ = ("_running", "_taken_over", "_tenants", "asking")

    def __init__(self) -> None:
        self._running: dict[CallId, HeldCall] = {}
        self._taken_over: dict[CallId, HeldCall] = {}
        self._tenants: Counter[TenantId] = Counter()
        self.asking: set[CallId] = set()
        """Calls about which the store is being asked: it may hold their slots."""

    def __len__(self) -> int:
        """Return the number of slots."""
        return len(self._running) + len(self._taken_over)

    def __iter__(self) -> Iterator[HeldCall]:
        """Return the calls, each once."""
        return iter([*self._running.values(), *self._taken_over.values()])

    def __contains__(self, call_id: CallId) -> bool:
        """Return true if the call's slot is, or may be, this process's."""
        return call_id in self._running or call_id in self._taken_over or call_id in self.asking

    def by_tenant(self) -> Mapping[TenantId, int]:
        """Return each tenant's slots, as of now."""
        return dict(self._tenants)

    def of(self, tenant_id: TenantId) -> int:
        """Return the tenant's slots."""
        return self._tenants[tenant_id]

    def add(self, call: HeldCall) -> None:
        """Hold a slot for a call that runs."""
        self.forget(call.call_id)
        self._running[call.call_id] = call
        self._tenants[call.tenant_id] += 1

    def take_over(self, call: HeldCall) -> bool:
        """Hold the slot of a call that was another process's until it is clear what becomes of it.

        False if the call runs here already.
        """
        if call.call_id in self._running:
            return False
        self.forget(call.call_id)
        self._taken_over[call.call_id] = call
        self._tenants[call.tenant_id] += 1
        return True

    def is_running(self, call_id: CallId) -> bool:
        """Return true if a call that runs here holds the slot."""
        return call_id in self._running

    def is_taken_over(self, call_id: CallId) -> bool:
        """Return true if the call's slot waits for what becomes of the call."""
        return call_id in self._taken_over

    def forget(self, call_id: CallId) -> HeldCall | None:
        """Hold the slot no more; return what was held."""
        call = self._running.pop(call_id, None) or self._taken_over.pop(call_id, None)
        if call is not None:
            self._tenants[call.tenant_id] -= 1
            if not self._tenants[call.tenant_id]:
                del self._tenants[call.tenant_id]
        return call
